"""What a line does to a learner, over HTTP or handed in directly, and waiting for what follows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from clients import Client
from service.learner.learner import Learner
from service.learner.requests import LateLabels, Posted, TakeSnapshot
from service.schema import Readings
from tests.durability.aftermath import MODEL
from tests.serving import Running, label, row

NOW = 1.7e9
"""Receipt time of what is handed in directly, in unix seconds."""


def teach(to: Running | Client, start: int, count: int, **more: Any) -> None:
    """One labelled row a request, rows ``start`` and after."""
    client = to if isinstance(to, Client) else to.client
    for index in range(start, start + count):
        client.learn(MODEL, [row(index)], [label(index)], **more)


def wait_for(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Until it holds; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def trail(running: Running, verb: str | None = None) -> list[dict[str, Any]]:
    """The entries of the audit trail, or those of one verb."""
    entries = running.client.ask(MODEL, "audit")["entries"]
    return [entry for entry in entries if verb is None or entry["verb"] == verb]


def readings(seed: int, count: int) -> np.ndarray:
    """Drawn rows, a tenth of the readings missing."""
    rng = np.random.default_rng(seed)
    drawn = rng.uniform([-20, 0], [150, 10], (count, 2)).astype(np.float32)
    drawn[rng.random(drawn.shape) < 0.1] = np.nan
    return drawn


def posted(rows: np.ndarray, labels: np.ndarray | None, batch_id: str | None) -> Posted:
    """A batch as the API hands it in."""
    return Posted(MODEL, Readings(rows, rows, 0, 0), labels, NOW, batch_id)


def submit(learner: Learner, work: Any) -> Any:
    """Hand work in and wait for its answer."""
    match work:
        case Posted() | LateLabels():
            return learner.post(work).result(30)
        case TakeSnapshot():
            return learner.take_snapshot(work).result(30)
        case _:
            return learner.order(work).result(30)


def hand_in(learner: Learner, start: int, count: int, label: int = 1) -> None:
    """One labelled row after the other, without HTTP."""
    for seed in range(start, start + count):
        submit(learner, posted(readings(seed, 1), np.array([label]), None))
