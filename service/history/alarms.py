"""Open alarms: what was noticed, until somebody has acknowledged it.

One for each kind, and line or sensor, however often the same is noticed meanwhile. They are made of
the log's verbs alone, so whoever reads the same events knows the same alarms; nothing that gate,
guard or drift do depends on them, but for whether it is news.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from service.history.verbs import Acknowledge, Alarm, Freeze, Order, Quarantine, Release, Thaw

KINDS = ("guard", "line", "concept_changed", "drift")
"""The labels stopped teaching, those of one line did, the concept changed, something drifted."""


@dataclass(frozen=True, slots=True)
class OpenAlarm:
    """What was noticed, counted.

    Parameters
    ----------
    id
        ``seq`` of the event that raised it; ``last_seq`` is that of the latest one.
    kind
        One of `KINDS`.
    of
        The line, or what drifted; "" where it is about the whole model, or rows without a line.
    cause
        First and last event that the latest one rests on.
    first_at, last_at
        Unix seconds.
    worst
        The largest statistic: a standard score, and of drift how many times its threshold.
    reason
        What was said first.
    """

    id: int
    kind: str
    of: str
    cause: tuple[int, int] | None
    first_at: float
    last_at: float
    last_seq: int
    times: int
    worst: float
    reason: str


class Alarms:
    """The open alarms of a model; changed by one thread, read by any."""

    def __init__(self) -> None:
        self._seq = 0
        # Never written, but replaced: readers need no lock.
        self._open: dict[tuple[str, str], OpenAlarm] = {}

    def opened(self) -> list[OpenAlarm]:
        """All of them, in the order in which they were raised."""
        return sorted(self._open.values(), key=lambda alarm: alarm.id)

    def is_open(self, kind: str, of: str = "") -> bool:
        """Whether what is noticed now is no news."""
        return (kind, of) in self._open

    def heard(self, order: Order, seq: int, at: float) -> None:
        """Take the verb of event ``seq``, received at ``at``; one that was heard before changes
        nothing."""
        if seq <= self._seq:
            return
        self._seq = seq
        match order.verb:
            case Acknowledge(alarms=seen):
                self._close(lambda alarm: alarm.id in seen)
            # Whoever lets learning go on has looked at why it had stopped.
            case Thaw():
                self._close(lambda alarm: alarm.kind in ("guard", "concept_changed"))
            case Release(line=line):
                self._close(lambda alarm: (alarm.kind, alarm.of) == ("line", line))
            case Alarm() | Freeze() | Quarantine() if order.evidence.get("signal") in KINDS:
                self._noticed(order, seq, at)

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable, for a manifest."""
        return {"seq": self._seq, "open": [asdict(alarm) for alarm in self.opened()]}

    def restore(self, saved: dict[str, Any] | None) -> None:
        """Go on from what `to_dict` gave; versions before this one saved nothing."""
        if saved is None:
            return
        self._seq = saved["seq"]
        found = [
            OpenAlarm(**{**kept, "cause": tuple(kept["cause"]) if kept["cause"] else None})
            for kept in saved["open"]
        ]
        self._open = {(alarm.kind, alarm.of): alarm for alarm in found}

    def _noticed(self, order: Order, seq: int, at: float) -> None:
        said, cause = order.evidence, order.cause
        kind, of, statistic = said["signal"], said.get("of", ""), float(said.get("statistic", 0.0))
        known = self._open.get((kind, of))
        if known is None:
            found = OpenAlarm(seq, kind, of, cause, at, at, seq, 1, statistic, order.reason)
        elif known.cause == cause:
            # What could not be carried out is put on record as an alarm for the same cause.
            return
        else:
            found = replace(
                known,
                cause=cause,
                last_at=at,
                last_seq=seq,
                times=known.times + 1,
                worst=max(known.worst, statistic),
            )
        self._open = {**self._open, (kind, of): found}

    def _close(self, closes: Callable[[OpenAlarm], bool]) -> None:
        self._open = {key: alarm for key, alarm in self._open.items() if not closes(alarm)}
