"""One pass of one method over one stream, in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.peers.deep_river import DeepRiver
from benchmarks.streams import ours, peers
from benchmarks.streams.data import LATE, LATE_ROWS, Stream, load
from benchmarks.streams.figures import figures
from service.config.model import ENSEMBLE
from service.state import same

PACKED = (5, 20, 32, 100)

METHODS: dict[str, Callable[[Stream, int], Any]] = {
    "shipped_default": lambda s, k: ours.Ours(ours.ensemble(ENSEMBLE), s, k),
    "with_rehearsal": lambda s, k: ours.Ours(ours.ensemble(ours.REHEARSING), s, k),
    "member_gain": lambda s, k: ours.Ours(ours.ensemble(("gain",)), s, k),
    "member_sgd": lambda s, k: ours.Ours(ours.ensemble(("sgd",)), s, k),
    "member_linear": lambda s, k: ours.Ours(ours.ensemble(("linear",)), s, k),
    "previous_default": lambda s, k: ours.Ours(ours.previous, s, k),
    "backprop": lambda s, k: ours.Ours(ours.previous, s, k, tied=True),
    "backprop_tuned": ours.Tuned,
    "backprop_same_aids": lambda s, k: ours.Ours(ours.ensemble(ENSEMBLE), s, k, tied=True),
    "backprop_with_rehearsal": lambda s, k: ours.Ours(
        ours.ensemble(ours.REHEARSING), s, k, tied=True
    ),
    "arf": peers.forest_of,
    "hat": peers.hoeffding,
    "softmax": peers.softmax,
    "deep_river": DeepRiver,
    "last_label": peers.LastLabel,
    "majority": peers.Majority,
}

LATE_METHODS = (
    "shipped_default",
    "with_rehearsal",
    "previous_default",
    "backprop",
    "softmax",
    "last_label",
)


class Task(NamedTuple):
    """One pass: a method over a stream; ``rows`` a request, labels ``delay`` rows late."""

    method: str
    stream: str
    seed: int
    rows: int = 1
    delay: int = 0
    limit: int = 10**9
    folder: Path = Path()


class Pass(NamedTuple):
    task: Task
    figures: dict[str, float]
    seconds_a_row: float
    state_equal: bool | None


def run(task: Task) -> Pass:
    """One pass, in a process of its own."""
    torch.set_num_threads(1)
    stream = load(task.stream, task.seed, task.folder).head(task.limit)
    method = METHODS[task.method](stream, task.seed)
    began = time.perf_counter()
    said = late(method, stream, task.delay) if task.delay else packed(method, stream, task.rows)
    seconds = (time.perf_counter() - began) / len(stream.y)
    equal = None
    if task.rows > 1:
        single = METHODS[task.method](stream, task.seed)
        packed(single, stream, 1)
        seq = single.state.seq
        equal = same(method.state._replace(seq=seq), single.state)
    return Pass(task, figures(said, stream.y), seconds, equal)


def packed(method: Any, stream: Stream, rows: int) -> NDArray[np.float32]:
    """Predictions (N, K) where so many rows come a request, their labels with them."""
    said = [
        method.learn(stream.x[at : at + rows], stream.y[at : at + rows])
        for at in range(0, len(stream.y), rows)
    ]
    return np.concatenate(said)


def late(method: Any, stream: Stream, delay: int) -> NDArray[np.float32]:
    """Predictions (N, K) where each label comes so many rows after its row."""
    said = []
    for at in range(len(stream.y)):
        said.append(method.predict(stream.x[at : at + 1]))
        if at >= delay:
            was = slice(at - delay, at - delay + 1)
            method.learn(stream.x[was], stream.y[was])
    return np.concatenate(said)


def tasks(methods: list[str], streams: list[str], seeds: list[int], limit: int) -> list[Task]:
    found = [Task(m, s, k, limit=limit) for s in streams for m in methods for k in seeds]
    if "shipped_default" in methods:
        found += [
            Task("shipped_default", s, k, rows, limit=limit)
            for s in streams
            for rows in PACKED
            for k in seeds
        ]
    found += [
        Task(m, s, k, delay=LATE_ROWS, limit=limit)
        for s in LATE
        if s in streams
        for m in methods
        if m in LATE_METHODS
        for k in seeds
    ]
    return found
