"""Where in a model's log its predictions were wrong: errors by stretch of time and line.

Derived from the log alone, anew at each question, and holding nothing; bounded by the events that
are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model_store.log.log import EventLog, Record
from service.answers import probabilities_of
from service.history.lessons import Lesson
from service.history.verbs import TEACHING
from service.rows import UNKNOWN

MOST_EVENTS = 200_000
"""Of the latest, that one question looks at."""

MOST_STRETCHES = 2_000


@dataclass
class _Stretch:
    """Events of one line in one stretch of time."""

    first_seq: int
    last_seq: int = 0
    rows: int = 0
    errors: int = 0
    scored: int = 0
    last_label_errors: int = 0
    held: int = 0
    labels: dict[int, int] = field(default_factory=dict)


def errors_by_time(
    events: EventLog,
    model: str,
    width_s: float,
    *,
    since: float | None = None,
    until: float | None = None,
    observed: bool = False,
    line: str | None = None,
) -> dict[str, Any]:
    """Stretches of ``width_s`` seconds and the lines in them, oldest first.

    ``since`` and ``until`` are unix seconds, of receipt or, with ``observed``, of observation where
    the line said it. ``errors`` of ``scored`` rows were predicted wrongly before they taught;
    ``last_label_errors`` would have been by saying the line's last label again. ``left_out`` says
    how many of the model's events were not looked at.
    """
    last = events.last_seq(model)
    after = max(events.pruned(model), last - MOST_EVENTS)
    found: dict[tuple[float, str], _Stretch] = {}
    before: dict[str, int] = {}
    for record in events.events(model, after):
        if record.kind not in TEACHING:
            continue
        at = record.observed_at if observed and record.observed_at else record.received_at
        name = record.line or ""
        lesson = Lesson.from_bytes(record.payload)
        told = list(_scored(record, lesson))
        inside = (since is None or at >= since) and (until is None or at < until)
        if inside and (line is None or line == name):
            start = at // width_s * width_s
            stretch = found.setdefault((start, name), _Stretch(record.seq))
            _count(stretch, record.seq, told, before.get(name))
            stretch.held += len(told) if lesson.set_aside else 0
        if told:
            before[name] = told[-1][0]
    kept = sorted(found.items())[-MOST_STRETCHES:]
    return {
        "model": model,
        "width_s": width_s,
        "observed": observed,
        "stretches": [_said(start, name, stretch) for (start, name), stretch in kept],
        "left_out": max(0, after - events.pruned(model)) + len(found) - len(kept),
    }


def _scored(record: Record, lesson: Lesson) -> Iterator[tuple[int, int | None]]:
    """Of each labelled row its label, and what was predicted; None where that is not known."""
    against = lesson.earlier
    if against is None and record.kind == "batch":
        against = probabilities_of(record.reply)
    said = None if against is None else against.argmax(1)
    for row in np.flatnonzero(lesson.labels != UNKNOWN):
        yield int(lesson.labels[row]), None if said is None else int(said[row])


def _count(
    stretch: _Stretch, seq: int, told: list[tuple[int, int | None]], last: int | None
) -> None:
    stretch.last_seq = seq
    for label, said in told:
        stretch.rows += 1
        if said is not None:
            stretch.scored += 1
            stretch.errors += said != label
            stretch.last_label_errors += last is not None and last != label
        last = label
        stretch.labels[label] = stretch.labels.get(label, 0) + 1


def _said(start: float, line: str, stretch: _Stretch) -> dict[str, Any]:
    scored = stretch.scored
    return {
        "since": start,
        "line": line,
        "first_seq": stretch.first_seq,
        "last_seq": stretch.last_seq,
        "rows": stretch.rows,
        "scored": scored,
        "errors": stretch.errors,
        "error_ratio": stretch.errors / scored if scored else None,
        "last_label_errors": stretch.last_label_errors,
        "set_aside": stretch.held,
        "labels": {str(label): n for label, n in sorted(stretch.labels.items())},
    }
