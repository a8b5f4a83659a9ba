"""What the API hands to the writer: checked requests, each with the future that answers it."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from service.rows import Labels, Rows
from service.schema import Readings


@dataclass(frozen=True, slots=True)
class Order:
    """What an event without rows carries: an operator's verb, or what a detector did.

    Parameters
    ----------
    automatic
        A detector did it, not a person.
    cause
        The first and last ``seq`` of the events that made it do so.
    values
        What else the verb says, such as the ranges that a rebase leaves out.
    """

    automatic: bool = False
    cause: tuple[int, int] | None = None
    values: dict[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        return json.dumps(
            {"automatic": self.automatic, "cause": self.cause, "values": self.values},
            sort_keys=True,
            # JSON has no infinity, and neither has the trail that this will be copied to.
            allow_nan=False,
        ).encode()

    @classmethod
    def from_bytes(cls, payload: bytes) -> Order:
        value = json.loads(payload)
        cause = value["cause"]
        return cls(value["automatic"], tuple(cause) if cause else None, value["values"])


def automatic(cause: tuple[int, int], **values: Any) -> Order:
    """The order of a detector, with the range of events that made it give it."""
    return Order(automatic=True, cause=cause, values=values)


@dataclass(frozen=True, slots=True, eq=False)
class Posted:
    """A batch: it teaches where ``labels`` are known, and is remembered if it has a ``batch_id``.

    ``received_at`` and ``observed_at`` are unix seconds.
    """

    model: str
    readings: Readings
    labels: Labels | None
    received_at: float
    batch_id: str | None = None
    line: str | None = None
    observed_at: float | None = None
    future: Future[bytes] = field(default_factory=Future)


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
    future: Future[bytes] = field(default_factory=Future)


@dataclass(frozen=True, slots=True, eq=False)
class Verb:
    """An operator's or a detector's order to the learner, an event like any other."""

    model: str
    kind: str
    received_at: float
    actor: str
    reason: str
    order: Order = field(default_factory=Order)
    snapshot: int | None = None
    future: Future[dict[str, Any]] = field(default_factory=Future)


@dataclass(frozen=True, slots=True, eq=False)
class TakeSnapshot:
    """Snapshot the state that stands when the writer gets here."""

    model: str
    cause: str
    actor: str = "apical"
    reason: str = ""
    future: Future[dict[str, Any]] = field(default_factory=Future)


@dataclass(frozen=True, slots=True, eq=False)
class Swap:
    """Let a rebase that has caught up take the live state's place.

    ``finish(seq)`` replays what is left up to that event and gives the state, or None if it was
    called off; ``values()`` is then what the event says of it.
    """

    model: str
    actor: str
    reason: str
    base: int
    finish: Callable[[int], Any]
    values: Callable[[], dict[str, Any]]
    future: Future[dict[str, Any]] = field(default_factory=Future)


Work = Posted | LateLabels | Verb | TakeSnapshot | Swap
