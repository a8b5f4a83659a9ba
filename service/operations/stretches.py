"""Predictions that were right and wrong, counted by stretch of time and line, event by event.

What is counted here from a log's records is what `service.operations.score_index` keeps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import orjson

from model_store.log.log import Record
from service.history.lessons import Lesson
from service.history.verbs import TEACHING
from service.rows import UNKNOWN

BASE_S = 600.0
"""Width of the stretches that are kept."""

MOST_LINES = 1_000
"""Lines that are told apart, the first that came; later ones are `OTHER_LINES`."""

OTHER_LINES = "(other lines)"

MOST_RANGES = 20
"""Ranges of events that a stretch names."""

RECEIVED, OBSERVED = 0, 1
"""Whose clock says when rows were: ours, or the line's where it said."""

Key = tuple[float, float, str]
"""Beginning and width of a stretch in seconds, and its line."""


@dataclass(slots=True)
class Stretch:
    """Lessons of one line in one stretch of time.

    Parameters
    ----------
    rows, unlabelled
        With a label, and without one.
    scored, errors
        Labelled rows whose prediction is known, and those of them that it was wrong for.
    last_label_errors, majority_errors
        So many it would have been by saying the line's last label again, and by saying the label
        that was the most frequent until then.
    set_aside
        Labelled rows that arrived while the line was in quarantine.
    labels
        Rows by class index.
    ranges
        ``[first seq, last seq, first, last]``, where the last two count the line's own lessons: so
        ranges without another stretch's lesson of that line between them can be told.
    """

    events: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    rows: int = 0
    unlabelled: int = 0
    scored: int = 0
    errors: int = 0
    last_label_errors: int = 0
    majority_errors: int = 0
    set_aside: int = 0
    labels: dict[int, int] = field(default_factory=dict)
    ranges: list[list[int]] = field(default_factory=list)

    def add(self, other: Stretch) -> None:
        """Take another stretch of the same line into this one."""
        if not other.events:
            return
        empty = not self.events
        self.first_at = other.first_at if empty else min(self.first_at, other.first_at)
        self.last_at = other.last_at if empty else max(self.last_at, other.last_at)
        self.events += other.events
        self.rows += other.rows
        self.unlabelled += other.unlabelled
        self.scored += other.scored
        self.errors += other.errors
        self.last_label_errors += other.last_label_errors
        self.majority_errors += other.majority_errors
        self.set_aside += other.set_aside
        for label, count in other.labels.items():
            self.labels[label] = self.labels.get(label, 0) + count
        if self.ranges and len(other.ranges) == 1 and self.ranges[-1][3] + 1 == other.ranges[0][2]:
            self.ranges[-1][1], self.ranges[-1][3] = other.ranges[0][1], other.ranges[0][3]
        else:
            self.ranges = _joined([*self.ranges, *other.ranges])

    def to_json(self, key: Key) -> dict[str, Any]:
        """What is told of it."""
        since, width, line = key
        lessons = sum(last - first + 1 for _, _, first, last in self.ranges)
        return {
            "since": since,
            "width_s": width,
            "line": line,
            "first_at": self.first_at,
            "last_at": self.last_at,
            "first_seq": self.ranges[0][0],
            "last_seq": max(last for _, last, _, _ in self.ranges),
            "ranges": [[first, last] for first, last, _, _ in self.ranges],
            # Else these ranges hold lessons of the same line in other stretches too.
            "exact": lessons == self.events,
            "lessons": self.events,
            "rows": self.rows,
            "unlabelled": self.unlabelled,
            "scored": self.scored,
            "errors": self.errors,
            "error_ratio": self.errors / self.scored if self.scored else None,
            "last_label_errors": self.last_label_errors,
            "majority_errors": self.majority_errors,
            "set_aside": self.set_aside,
            "labels": {str(label): n for label, n in sorted(self.labels.items())},
        }


def _joined(ranges: list[list[int]]) -> list[list[int]]:
    """In order, those that follow each other in one, and no more than `MOST_RANGES`."""
    found: list[list[int]] = []
    for range_ in sorted(ranges):
        if found and found[-1][3] + 1 >= range_[2]:
            found[-1][1] = max(found[-1][1], range_[1])
            found[-1][3] = max(found[-1][3], range_[3])
        else:
            found.append(list(range_))
    while len(found) > MOST_RANGES:
        gaps = [b[2] - a[3] for a, b in pairwise(found)]
        at = gaps.index(min(gaps))
        after = found.pop(at + 1)
        found[at][1], found[at][3] = after[1], after[3]
    return found


@dataclass(slots=True)
class LineTally:
    """Of one line: its last label, its lessons, and its rows that were learned."""

    last: int | None = None
    lessons: int = 0
    learned: int = 0


@dataclass(slots=True)
class Tally:
    """What counting goes on from: the lines, and rows by class index."""

    lines: dict[str, LineTally] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    _common: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "lines": {name: [t.last, t.lessons, t.learned] for name, t in self.lines.items()},
            "seen": list(self.seen.items()),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Tally:
        lines = {name: LineTally(*told) for name, told in value["lines"].items()}
        seen = {int(label): int(count) for label, count in value["seen"]}
        common = min(seen, key=lambda label: (-seen[label], label)) if seen else None
        return cls(lines, seen, common)

    def take(self, record: Record) -> tuple[str, float, float, Stretch] | None:
        """One event, in order: its line, when its rows were received and observed in unix seconds,
        and it alone as a stretch; None for a verb."""
        if record.kind not in TEACHING:
            return None
        lesson = Lesson.from_bytes(record.payload)
        line = record.line or ""
        if line not in self.lines and len(self.lines) >= MOST_LINES:
            line = OTHER_LINES
        known = self.lines.setdefault(line, LineTally())
        reply = orjson.loads(record.reply) if record.reply else {}
        received = record.received_at if lesson.arrived is None else lesson.arrived
        observed = received if record.observed_at is None else record.observed_at
        known.lessons += 1
        known.learned += sum(reply.get("learned", ()))
        counted = Stretch(
            1, ranges=[[record.seq, record.seq, known.lessons, known.lessons]], first_at=received
        )
        against = lesson.earlier
        if against is None and record.kind == "batch" and "probabilities" in reply:
            against = np.array(reply["probabilities"], np.float32)
        said = None if against is None else against.argmax(1)
        for row in np.flatnonzero(lesson.labels != UNKNOWN).tolist():
            guess = None if said is None else int(said[row])
            self._row(known, counted, int(lesson.labels[row]), guess)
        counted.unlabelled = len(lesson.labels) - counted.rows
        counted.set_aside = counted.rows if lesson.set_aside else 0
        return line, received, observed, counted

    def _row(self, known: LineTally, counted: Stretch, label: int, said: int | None) -> None:
        counted.rows += 1
        counted.labels[label] = counted.labels.get(label, 0) + 1
        if said is not None:
            counted.scored += 1
            counted.errors += said != label
            counted.last_label_errors += known.last is not None and known.last != label
            counted.majority_errors += self._common is not None and self._common != label
        known.last = label
        times = self.seen[label] = self.seen.get(label, 0) + 1
        most = self.seen.get(self._common, 0) if self._common is not None else 0
        if self._common is None or (times, -label) > (most, -self._common):
            self._common = label


def key_at(at: float, width_s: float, line: str) -> Key:
    """Of the stretch in which a time lies."""
    return at // width_s * width_s, width_s, line


def folded(kept: Iterable[tuple[Key, Stretch]], width_s: float) -> dict[Key, Stretch]:
    """Stretches as parts of wider ones; those that are wider already stay as they are."""
    found: dict[Key, Stretch] = {}
    for (start, width, line), stretch in kept:
        key = key_at(start, max(width, width_s), line)
        found.setdefault(key, Stretch()).add(stretch)
    return found
