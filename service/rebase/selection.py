"""Which lessons a rebase leaves out, and what follows from them."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from model_store.log.log import Record
from service.history.lessons import Lesson
from service.history.verbs import TEACHING, Freeze, Order
from service.rows import UNKNOWN

Range = tuple[int, int]


def merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The same events in as few ranges as may be, ascending."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def among(ranges: Sequence[Range], seq: int) -> bool:
    """Whether an event lies in one of some ascending ranges that do not overlap."""
    at = bisect_right(ranges, (seq, sys.maxsize)) - 1
    return at >= 0 and ranges[at][0] <= seq <= ranges[at][1]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which lessons to leave out: those that match every criterion given.

    Parameters
    ----------
    without
        Ranges of ``seq``, both ends included.
    since, until
        Unix seconds of receipt, or of observation if ``observed``; from, and up to but not at.
    batch_ids, lines
        Only these; "" is the line of rows that name none.
    learn_frozen
        Drop operators' freezes too, so that labels which arrived frozen are learned.
    learn_lines
        Learn the labels of these that were set aside in quarantine.
    """

    without: tuple[Range, ...] = ()
    since: float | None = None
    until: float | None = None
    observed: bool = False
    batch_ids: frozenset[str] = frozenset()
    lines: frozenset[str] = frozenset()
    learn_frozen: bool = False
    learn_lines: frozenset[str] = frozenset()

    @property
    def empty(self) -> bool:
        """No criterion at all would mean every lesson ever."""
        return not self.excludes and not self.learn_lines

    @property
    def excludes(self) -> bool:
        """Whether there is a criterion for what to leave out."""
        return bool(
            self.without
            or self.batch_ids
            or self.lines
            or self.since is not None
            or self.until is not None
        )

    def matches(self, record: Record) -> bool:
        """Whether a lesson is selected as such."""
        if record.kind not in TEACHING or not self.excludes:
            return False
        if self.without and not among(self.without, record.seq):
            return False
        if self.batch_ids and record.batch_id not in self.batch_ids:
            return False
        if self.lines and (record.line or "") not in self.lines:
            return False
        at = record.observed_at if self.observed else record.received_at
        if self.since is not None and (at is None or at < self.since):
            return False
        return not (self.until is not None and (at is None or at >= self.until))

    def relearns(self, record: Record) -> bool:
        """Whether a lesson that was set aside is to be learned after all."""
        if record.kind not in TEACHING or (record.line or "") not in self.learn_lines:
            return False
        return Lesson.from_bytes(record.payload).set_aside

    def to_json(self) -> dict[str, Any]:
        return {
            "without": [list(pair) for pair in self.without],
            "since": self.since,
            "until": self.until,
            "observed": self.observed,
            "batch_ids": sorted(self.batch_ids),
            "lines": sorted(self.lines),
            "learn_frozen": self.learn_frozen,
            "learn_lines": sorted(self.learn_lines),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Selection:
        return cls(
            merged((a, b) for a, b in value["without"]),
            value["since"],
            value["until"],
            value["observed"],
            frozenset(value["batch_ids"]),
            frozenset(value["lines"]),
            value["learn_frozen"],
            # Versions before this one knew no quarantine.
            frozenset(value.get("learn_lines", ())),
        )


class Exclusion:
    """Decides, event by event in order, what a rebase leaves out.

    Parameters
    ----------
    until
        The event that ordered it; lessons after that are not selected.
    before, learned
        Ranges that earlier rebases left out, and ranges that they learned after all.
    """

    def __init__(
        self,
        selection: Selection,
        until: int,
        before: Iterable[Range] = (),
        learned: Iterable[Range] = (),
    ) -> None:
        self.selection = selection
        self._until = until
        self.ranges: list[Range] = []
        self.relearned: list[Range] = []
        self._learned = merged(learned)
        self.lessons = 0
        self.rows = 0
        self.consequences = 0
        self._earlier = merged(before)
        self._batches: set[str] = set()

    def leaves_out(self, record: Record) -> bool:
        """Whether ``record`` is selected, or follows from what is; call once per event."""
        if among(self._earlier, record.seq):
            # An earlier rebase left it out already; that one stays in force.
            out = True
        elif record.kind in TEACHING:
            # A late label of a batch that is left out goes with it.
            late = record.kind == "late" and record.batch_id in self._batches
            # What arrives after the order is not meant by it, but for late labels of what is.
            out = late or (record.seq <= self._until and self.selection.matches(record))
            if out:
                self.lessons += 1
                lesson = Lesson.from_bytes(record.payload)
                self.rows += int((lesson.labels != UNKNOWN).sum())
                if record.kind == "batch" and record.batch_id is not None:
                    self._batches.add(record.batch_id)
        else:
            order = Order.from_record(record)
            if isinstance(order.verb, Freeze) and self.selection.learn_frozen:
                out = True
            else:
                out = self._consequence(order)
                self.consequences += out
        if out:
            _append(self.ranges, record.seq)
        return out

    def relearns(self, record: Record) -> bool:
        """Whether ``record``, which is not left out, was set aside and is learned after all; call
        once per event."""
        found = among(self._learned, record.seq) or (
            record.seq <= self._until and self.selection.relearns(record)
        )
        if found:
            _append(self.relearned, record.seq)
        return found

    def _consequence(self, order: Order) -> bool:
        if not order.automatic:
            return False
        if isinstance(order.verb, Freeze):
            return True
        cause = order.cause
        if cause is None:
            return False
        # Ranges are ascending: the last that begins by the end of the cause decides.
        at = bisect_right(self.ranges, (cause[1], sys.maxsize)) - 1
        return at >= 0 and self.ranges[at][1] >= cause[0]


def _append(ranges: list[Range], seq: int) -> None:
    """Add an event that comes after all others."""
    if ranges and ranges[-1][1] == seq - 1:
        ranges[-1] = (ranges[-1][0], seq)
    else:
        ranges.append((seq, seq))
