"""Rebase: unlearn the bad hour, keep the good day.

From the snapshot before the first excluded event the log is replayed without the excluded lessons
and without their consequences; when the replay has caught up with the live learner, its state is
swapped in by an event of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from model_store.log.log import EventLog, Record
from model_store.snapshots.store import SnapshotStore
from service.dll import State
from service.errors import Refused
from service.history.lessons import Lesson
from service.history.replay import replay
from service.history.verbs import TEACHING, Order
from service.publishing.taking import STAGED, load_state
from service.schema import UNKNOWN

Range = tuple[int, int]


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
        Only these.
    learn_frozen
        Drop operators' freezes too, so that labels which arrived frozen are learned.
    """

    without: tuple[Range, ...] = ()
    since: float | None = None
    until: float | None = None
    observed: bool = False
    batch_ids: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    learn_frozen: bool = False

    @property
    def empty(self) -> bool:
        """No criterion at all would mean every lesson ever."""
        return not (
            self.without
            or self.batch_ids
            or self.lines
            or self.since is not None
            or self.until is not None
        )

    def matches(self, record: Record) -> bool:
        """Whether a lesson is selected as such."""
        if record.kind not in TEACHING:
            return False
        if self.without and not any(a <= record.seq <= b for a, b in self.without):
            return False
        if self.batch_ids and record.batch_id not in self.batch_ids:
            return False
        if self.lines and record.line not in self.lines:
            return False
        at = record.observed_at if self.observed else record.received_at
        if self.since is not None and (at is None or at < self.since):
            return False
        return not (self.until is not None and (at is None or at >= self.until))

    def to_json(self) -> dict[str, Any]:
        return {
            "without": [list(pair) for pair in self.without],
            "since": self.since,
            "until": self.until,
            "observed": self.observed,
            "batch_ids": list(self.batch_ids),
            "lines": list(self.lines),
            "learn_frozen": self.learn_frozen,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Selection:
        return cls(
            tuple((a, b) for a, b in value["without"]),
            value["since"],
            value["until"],
            value["observed"],
            tuple(value["batch_ids"]),
            tuple(value["lines"]),
            value["learn_frozen"],
        )


class Exclusion:
    """Decides, event by event in order, what a rebase leaves out.

    Parameters
    ----------
    until
        The event that ordered it; lessons after that are not selected.
    before
        Ranges that earlier rebases left out.
    """

    def __init__(self, selection: Selection, until: int, before: Iterable[Range] = ()) -> None:
        self.selection = selection
        self._until = until
        self.ranges: list[Range] = []
        self.lessons = 0
        self.rows = 0
        self.consequences = 0
        self._earlier = tuple(before)
        self._batches: set[str] = set()

    def leaves_out(self, record: Record) -> bool:
        """Whether ``record`` is selected, or follows from what is; call once per event."""
        if any(a <= record.seq <= b for a, b in self._earlier):
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
        elif record.kind == "freeze" and self.selection.learn_frozen:
            out = True
        else:
            out = self._consequence(record)
            self.consequences += out
        if out:
            if self.ranges and self.ranges[-1][1] == record.seq - 1:
                self.ranges[-1] = (self.ranges[-1][0], record.seq)
            else:
                self.ranges.append((record.seq, record.seq))
        return out

    def _consequence(self, record: Record) -> bool:
        order = Order.from_bytes(record.payload)
        if not order.automatic:
            return False
        if record.kind == "freeze":
            return True
        cause = order.cause
        return cause is not None and any(a <= cause[1] and cause[0] <= b for a, b in self.ranges)


class Plan(NamedTuple):
    """What a rebase would do: from which snapshot, over how many events, leaving out what."""

    base: int
    base_seq: int
    first: int
    until: int
    lessons: int
    rows: int
    consequences: int
    ranges: list[Range]
    earlier: list[Range]

    def to_json(self) -> dict[str, Any]:
        return {
            "base": self.base,
            "base_seq": self.base_seq,
            "first_excluded": self.first,
            "until": self.until,
            "events_to_replay": self.until - self.base_seq,
            "excluded_lessons": self.lessons,
            "excluded_rows": self.rows,
            "dropped_automatic_events": self.consequences,
            "excluded": self.ranges,
        }


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
            "expected at least one of without, since, until, batch_ids, lines; with "
            "none of them every lesson would be unlearned"
        )
    start = events.pruned(model)
    first = None
    if selection.without:
        start = max(start, min(a for a, _ in selection.without) - 1)
    for record in events.events(model, after=start, until=until):
        if selection.matches(record):
            first = record.seq
            break
    if first is None:
        raise Refused(f"{model}: no learned batch up to event {until} matches the selection")
    rebases = [
        (record.seq, [(a, b) for a, b in Order.from_bytes(record.payload).values["excluded"]])
        for record in events.naming(model)
        if record.kind == "rebase" and record.seq <= until
    ]
    base, base_seq, earlier = _base(model, first, rebases, store)
    exclusion = Exclusion(selection, ordered, earlier)
    for record in events.events(model, after=base_seq, until=until):
        exclusion.leaves_out(record)
    return Plan(
        base,
        base_seq,
        first,
        until,
        exclusion.lessons,
        exclusion.rows,
        exclusion.consequences,
        exclusion.ranges,
        earlier,
    )


def _base(
    model: str, first: int, rebases: list[tuple[int, list[Range]]], store: SnapshotStore
) -> tuple[int, int, list[Range]]:
    """The newest snapshot before everything that has to be left out.

    An earlier rebase that would be replayed stays in force: what it left out is left out again, so
    the base must lie before that too.
    """
    manifests = [store.manifest(model, version) for version in store.versions(model)]
    usable = [(m["seq"], m["version"]) for m in manifests if m["cause"] != STAGED]
    while True:
        before = [pair for pair in usable if pair[0] < first]
        if not before:
            raise Refused(
                f"{model}: expected a snapshot before event {first}, found none; the oldest kept "
                f"is at event {min(usable)[0]}"
            )
        seq, version = max(before)
        earlier = [pair for at, ranges in rebases if at > seq for pair in ranges]
        lowest = min([a for a, _ in earlier], default=first)
        if lowest > seq:
            return version, seq, earlier
        first = lowest


class Rebaser:
    """The replay of one plan, advanced step by step."""

    def __init__(
        self,
        model: str,
        selection: Selection,
        plan: Plan,
        ordered: int,
        events: EventLog,
        store: SnapshotStore,
    ) -> None:
        self.model = model
        self.plan = plan
        self.exclusion = Exclusion(selection, ordered, plan.earlier)
        self._ordered = ordered
        self._selection = selection
        self._events = events
        self._store = store
        self.state: State = load_state(store, model, plan.base)
        self._marks: dict[int, State] = {}
        named = {
            record.snapshot
            for record in events.naming(model)
            if record.kind == "rollback" and record.seq > plan.base_seq
        }
        self._wanted = {
            store.manifest(model, version)["seq"]
            for version in store.versions(model)
            if version in named
        }

    def advance(self, until: int, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Replay up to event ``until``, or until cancelled."""
        for record in self._events.events(self.model, after=self.state.seq, until=until):
            self.state = self._after(self.state, record, self.exclusion)
            if record.seq in self._wanted:
                self._marks[record.seq] = self.state
            if cancelled():
                return

    def _after(self, state: State, record: Record, exclusion: Exclusion) -> State:
        # An earlier rebase has nothing left to do: what it left out is left out of this replay.
        if exclusion.leaves_out(record) or record.kind == "rebase":
            return state._replace(seq=record.seq)
        return replay(state, [record], self._load, gaps=self._events.gaps(self.model))

    def _load(self, model: str, version: int) -> State:
        """The state that a kept rollback means: rebased too, if its snapshot is newer than the
        base."""
        target = self._store.manifest(model, version)["seq"]
        if target <= self.plan.base_seq:
            return load_state(self._store, model, version)
        if target in self._marks:
            return self._marks[target]
        # Only a rollback that was ordered meanwhile comes here, and each target once: rollbacks to
        # what earlier rollbacks published would otherwise double the work with every one.
        again = load_state(self._store, model, self.plan.base)
        exclusion = Exclusion(self._selection, self._ordered, self.plan.earlier)
        for record in self._events.events(model, after=again.seq, until=target):
            again = self._after(again, record, exclusion)
        self._marks[target] = again
        return again
