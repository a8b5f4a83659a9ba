"""Rebase: unlearn the bad hour, keep the good day.

From the snapshot before the first excluded event the log is replayed without the excluded lessons
and without their consequences; when the replay has caught up with the live learner, its state is
swapped in by an event of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from model_store.log.log import EventLog, Record
from model_store.snapshots.store import SnapshotStore
from service.history.lessons import Lesson, taught_after_all
from service.history.replay import replay
from service.history.verbs import TEACHING, Order, Rebase, Rollback
from service.kernels.kernel import Kernel
from service.manifest import manifest_of, readable
from service.publishing.taking import load_state
from service.rebase.plan import Plan, Taught
from service.rebase.selection import Exclusion
from service.state import State


class Rebaser:
    """The replay of one plan, advanced step by step."""

    def __init__(self, kernel: Kernel, plan: Plan, events: EventLog, store: SnapshotStore) -> None:
        model = plan.model
        self._kernel = kernel
        self.plan = plan
        self.exclusion = plan.exclusion()
        self.rows = Taught()
        self._events = events
        self._gaps = events.gaps(model)
        self._store = store
        self.state: State = load_state(store, model, plan.base)
        self._marks: dict[int, State] = {}
        named = {
            verb.snapshot
            for record in events.naming(model)
            if isinstance(verb := Order.from_record(record).verb, Rollback)
            and record.seq > plan.base_seq
        }
        self._wanted = {m.seq for m in readable(store, model) if m.version in named}

    def advance(self, until: int, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Replay up to event ``until``, or until cancelled."""
        for record in self._events.events(self.plan.model, after=self.state.seq, until=until):
            self.state = self._after(self.state, record, self.exclusion, self.rows)
            if record.seq in self._wanted:
                self._marks[record.seq] = self.state
            if cancelled():
                return

    def _after(self, state: State, record: Record, exclusion: Exclusion, rows: Taught) -> State:
        # An earlier rebase has nothing left to do: what it left out is left out of this replay.
        if exclusion.leaves_out(record) or record.kind == Rebase.kind:
            return state._replace(seq=record.seq)
        if exclusion.relearns(record):
            record = taught_after_all(record)
        if record.kind in TEACHING:
            rows.count(Lesson.from_bytes(record.payload), state.frozen)
        return replay(self._kernel, state, [record], self._load, gaps=self._gaps)

    def _load(self, model: str, version: int) -> State:
        """The state that a kept rollback means: rebased too, if its snapshot is newer than the
        base."""
        target = manifest_of(self._store, model, version).seq
        if target <= self.plan.base_seq:
            return load_state(self._store, model, version)
        if target in self._marks:
            return self._marks[target]
        # Only a rollback that was ordered meanwhile comes here, and each target once: rollbacks to
        # what earlier rollbacks published would otherwise double the work with every one.
        again = load_state(self._store, model, self.plan.base)
        exclusion = self.plan.exclusion()
        for record in self._events.events(model, after=again.seq, until=target):
            # These were counted when they were replayed for themselves.
            again = self._after(again, record, exclusion, Taught())
        self._marks[target] = again
        return again
