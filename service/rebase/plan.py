"""What a rebase would do, found out before anything is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from model_store.log.log import EventLog
from model_store.snapshots.store import SnapshotStore
from service.errors import Refused
from service.history.lessons import Lesson, taught_after_all
from service.history.verbs import TEACHING, Freeze, Order, Rebase, Thaw
from service.manifest import sound
from service.publishing.taking import load_state
from service.rebase.selection import Exclusion, Range, Selection
from service.rows import UNKNOWN


@dataclass
class Taught:
    """Rows of the lessons that a replay takes: learned; held, their labels kept, since the model
    was frozen or their line in quarantine; without a label, so that they were predicted alone."""

    learned: int = 0
    held: int = 0
    unlabelled: int = 0

    def count(self, lesson: Lesson, frozen: bool) -> None:
        """One lesson, met by a state that was frozen or was not."""
        told = int(np.count_nonzero(lesson.labels != UNKNOWN))
        taught = 0 if frozen or lesson.set_aside else told
        self.learned += taught
        self.held += told - taught
        self.unlabelled += len(lesson.labels) - told


class Plan(NamedTuple):
    """What a rebase would do: from which snapshot, over how many events, leaving out what.

    Parameters
    ----------
    ordered
        The event that ordered it.
    base, base_seq
        The snapshot that it starts from, and the event that this is of.
    first, until
        The first event that is left out, and the last one looked at.
    earlier
        What rebases before it left out behind the base.
    lessons, rows, consequences, ranges
        What is left out, counted up to ``until``.
    taught
        What becomes of all other rows.
    """

    model: str
    selection: Selection
    ordered: int
    base: int
    base_seq: int
    first: int
    until: int
    earlier: list[Range]
    learned: list[Range]
    taught: Taught
    lessons: int = 0
    rows: int = 0
    consequences: int = 0
    ranges: Sequence[Range] = ()

    def exclusion(self) -> Exclusion:
        """To be asked from the event after the base on."""
        return Exclusion(self.selection, self.ordered, self.earlier, self.learned)

    def to_json(self) -> dict[str, Any]:
        return {
            "base": self.base,
            "base_seq": self.base_seq,
            "first_excluded": self.first,
            "until": self.until,
            "events_to_replay": self.until - self.base_seq,
            "excluded_lessons": self.lessons,
            "excluded_rows": self.rows,
            "rows_to_learn": self.taught.learned,
            "rows_to_hold": self.taught.held,
            "rows_without_label": self.taught.unlabelled,
            "dropped_automatic_events": self.consequences,
            "excluded": self.ranges,
        }


class Before(NamedTuple):
    """An earlier rebase: its event, what it left out, and what it learned after all."""

    seq: int
    excluded: list[Range]
    relearned: list[Range]


def plan(
    model: str,
    selection: Selection,
    events: EventLog,
    store: SnapshotStore,
    until: int,
    ordered: int,
) -> Plan:
    """Look through the log up to event ``until``, and choose where to start; ``ordered`` is the
    event that ordered the rebase.

    Raises
    ------
    Refused
        Nothing is selected, or no snapshot before it is left.
    """
    if selection.empty:
        raise Refused(
            "expected at least one of without, since, until, batch_ids, lines, learn_lines; with "
            "none of them every lesson would be unlearned"
        )
    start = events.pruned(model)
    first = None
    if selection.without:
        start = max(start, min(a for a, _ in selection.without) - 1)
    for record in events.events(model, after=start, until=until):
        if selection.matches(record) or selection.relearns(record):
            first = record.seq
            break
    if first is None:
        raise Refused(f"{model}: no learned batch up to event {until} matches the selection")
    rebases = [
        Before(record.seq, _pairs(verb.excluded), _pairs(verb.relearned))
        for record in events.naming(model)
        if isinstance(verb := Order.from_record(record).verb, Rebase) and record.seq <= until
    ]
    base, base_seq = _base(model, first, rebases, store)
    # An earlier rebase that is not replayed is in the base; one that is stays in force.
    earlier = [pair for rebase in rebases if rebase.seq > base_seq for pair in rebase.excluded]
    learned = [pair for rebase in rebases if rebase.seq > base_seq for pair in rebase.relearned]
    about = ordered, base, base_seq, first, until, earlier, learned
    found = Plan(model, selection, *about, Taught())
    exclusion = found.exclusion()
    frozen = load_state(store, model, base).frozen
    for record in events.events(model, after=base_seq, until=until):
        if exclusion.leaves_out(record):
            continue
        if record.kind in TEACHING:
            if exclusion.relearns(record):
                record = taught_after_all(record)
            found.taught.count(Lesson.from_bytes(record.payload), frozen)
        # Nothing else thaws a model: a rollback brings weights back.
        elif record.kind in (Freeze.kind, Thaw.kind):
            frozen = record.kind == Freeze.kind
    return found._replace(
        lessons=exclusion.lessons,
        rows=exclusion.rows,
        consequences=exclusion.consequences,
        ranges=exclusion.ranges,
    )


def _pairs(ranges: list[list[int]]) -> list[Range]:
    return [(a, b) for a, b in ranges]


def _base(model: str, first: int, rebases: list[Before], store: SnapshotStore) -> tuple[int, int]:
    """Version and event of the newest snapshot before everything that has to be left out, or to be
    learned after all.

    An earlier rebase that would be replayed stays in force: what it did is done again, so the base
    must lie before that too.
    """
    usable = [(manifest.seq, manifest.version) for manifest in sound(store, model)]
    while True:
        before = [pair for pair in usable if pair[0] < first]
        if not before:
            kept = f"the oldest kept is at event {min(usable)[0]}" if usable else "none is readable"
            raise Refused(f"{model}: expected a snapshot before event {first}, found none; {kept}")
        seq, version = max(before)
        again = [r.excluded + r.relearned for r in rebases if r.seq > seq]
        lowest = min([a for pairs in again for a, _ in pairs], default=first)
        if lowest > seq:
            return version, seq
        first = lowest
