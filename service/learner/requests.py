"""What the API hands to the writer: checked requests, which are plain values, in an envelope."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from service.history.verbs import Order, Rebase
from service.rows import Labels, Rows
from service.schema import Readings
from service.state import State


@dataclass(frozen=True, slots=True, eq=False)
class Posted:
    """A batch: it teaches where ``labels`` are known, and is remembered if it has a ``batch_id``.

    ``received_at`` and ``observed_at`` are unix seconds; ``trace`` is the id of the trace by which
    it came.
    """

    model: str
    readings: Readings
    labels: Labels | None
    received_at: float
    batch_id: str | None = None
    line: str | None = None
    observed_at: float | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LateLabels:
    """Labels for the rows of an earlier batch; ``rows`` come along where a replica answered it.

    ``relabel`` allows another label than the one known: it teaches the new one once more.
    """

    model: str
    batch_id: str
    labels: Labels
    received_at: float
    rows: Rows | None = None
    relabel: bool = False
    line: str | None = None
    observed_at: float | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Snapshot the state that stands when the writer gets here."""

    model: str
    cause: str
    actor: str = "apical"
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Swap:
    """Let a rebase that has caught up take the live state's place.

    ``finish(seq)`` replays what is left up to that event and gives the state, or None if it was
    called off; ``verb(staged)`` is then what its event says, once that state is a snapshot.
    """

    model: str
    actor: str
    reason: str
    base: int
    finish: Callable[[int], Any]
    verb: Callable[[int], Rebase]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An order with all that it needs; ``replacement`` is the state of the snapshot that it
    names, where the learner's becomes that."""

    order: Order
    replacement: State | None = None

    @property
    def model(self) -> str:
        return self.order.model


Work = Posted | LateLabels | Prepared | TakeSnapshot | Swap


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """The envelope in which work travels: who waits for it, and since when.

    Parameters
    ----------
    future
        Answered once the work is durable and its effect visible.
    arrived
        Of `time.perf_counter`, when it was queued.
    """

    work: Work
    future: Future[Any] = field(default_factory=Future)
    arrived: float = field(default_factory=time.perf_counter)
