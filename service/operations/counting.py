"""Errors by stretch of time and line, counted from a log as it stands, and how they are told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from model_store.log.log import EventLog, Record
from service.operations.stretches import (
    BASE_S,
    OBSERVED,
    RECEIVED,
    Key,
    Stretch,
    Tally,
    folded,
    key_at,
)

MOST_EVENTS = 200_000
"""That one question reads."""

MOST_STRETCHES = 2_000
"""That one answer holds: the latest."""


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
    """Stretches of ``width_s`` seconds and the lines in them, oldest first, counted from the log.

    ``since`` and ``until`` are unix seconds, of receipt or, with ``observed``, of observation where
    the line said it; late labels count where their rows do. For a width of whole ten minutes they
    are widened to those. ``errors`` of ``scored`` rows were predicted wrongly before they taught;
    see `Stretch`. ``left_out`` says how many of the model's events and stretches, before these,
    were not looked at.
    """
    last, pruned = events.last_seq(model), events.pruned(model)
    after = max(pruned, last - MOST_EVENTS)
    clock = OBSERVED if observed else RECEIVED
    kept = width_s % BASE_S == 0
    if kept:
        since, until = whole(since, until)
    records = events.events(model, after, last)
    found = counted(records, Tally(), BASE_S if kept else width_s, clock, since, until, line)
    if kept:
        found = folded(sorted(found.items()), width_s)
    return answer(model, width_s, observed, since, until, found, after - pruned, 0)


def whole(since: float | None, until: float | None) -> tuple[float | None, float | None]:
    """A time, in unix seconds from and up to but not at, in whole stretches of those kept."""
    first = None if since is None else since // BASE_S * BASE_S
    return first, None if until is None else -(-until // BASE_S) * BASE_S


def counted(
    records: Iterable[Record],
    tally: Tally,
    width_s: float,
    clock: int,
    since: float | None,
    until: float | None,
    line: str | None,
) -> dict[Key, Stretch]:
    """Stretches of some events, in order, going on from ``tally``; as `errors_by_time`."""
    found: dict[Key, Stretch] = {}
    for record in records:
        taken = tally.take(record)
        if taken is None:
            continue
        name, *times, one = taken
        at = times[clock]
        inside = (since is None or at >= since) and (until is None or at < until)
        if inside and line in (None, name):
            one.first_at = one.last_at = at
            found.setdefault(key_at(at, width_s, name), Stretch()).add(one)
    return found


def answer(
    model: str,
    width_s: float,
    observed: bool,
    since: float | None,
    until: float | None,
    found: dict[Key, Stretch],
    skipped: int,
    dropped: int,
) -> dict[str, Any]:
    """What is told of stretches, the latest; ``skipped`` events were not looked at, and the
    stretches of ``dropped`` rows are no longer kept."""
    order = sorted(found.items(), key=lambda pair: (pair[0][0], pair[0][2], pair[0][1]))
    latest = order[-MOST_STRETCHES:]
    return {
        "model": model,
        "width_s": width_s,
        "observed": observed,
        "since": since,
        "until": until,
        "stretches": [stretch.to_json(key) for key, stretch in latest],
        "left_out": skipped + len(order) - len(latest),
        "dropped_rows": dropped,
    }
