"""Running rebases: one thread each, beside a learner that goes on learning.

A rebase begins with an event and ends with one, so a restart knows which are under way.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from concurrent.futures import wait
from dataclasses import astuple
from typing import Any, NamedTuple

import structlog

from model_store.errors import StorageError
from model_store.log.log import EventLog
from model_store.snapshots.store import SnapshotStore
from service.errors import ApicalError, Overloaded, Refused, StagingLate, UnknownSnapshot
from service.history.verbs import Order, Rebase, RebaseBegin, RebaseCancel
from service.kernels.kernel import Kernel
from service.learner.inbox import Inbox
from service.learner.model import LiveModel
from service.learner.orders import Orders
from service.learner.requests import Swap
from service.rebase.plan import Plan, plan
from service.rebase.replay import Rebaser
from service.rebase.selection import Selection

log = structlog.get_logger()

RETRY_S = 0.5
"""Between two tries to make the end of a rebase durable."""

STOP_S = 10.0
"""How long a stop waits for a rebase to leave off: it may hang in the store."""

BASES_TRIED = 3
"""How often a base is looked for that retention has not deleted meanwhile."""

SWAPS_TRIED = 5
"""How often the writer may wait for a slow store to keep the state of a rebase."""

CLOSE_ENOUGH = 64
"""Events that may be left to replay when the writer is asked to swap: it waits for these."""


class Around(NamedTuple):
    """What a rebase needs of the learner around it."""

    kernel: Kernel
    models: Mapping[str, LiveModel]
    inbox: Inbox
    orders: Orders
    events: EventLog
    store: SnapshotStore


class Rebasing:
    """One rebase under way."""

    def __init__(
        self,
        around: Around,
        model: str,
        begin: int,
        plan: Plan,
        actor: str,
        reason: str,
    ) -> None:
        self.begin = begin
        self.plan = plan
        self.result: dict[str, Any] | None = None
        self.error: str | None = None
        self._around = around
        self._model = model
        self._actor = actor
        self._reason = reason
        self._given_up: tuple[str, str] | None = None
        self._cancelled = threading.Event()
        self._stopped = threading.Event()
        self._started = time.monotonic()
        self._rebaser = Rebaser(around.kernel, plan, around.events, around.store)
        self._thread = threading.Thread(target=self._run, name=f"rebase {model}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Leave off without an end event: the next start goes on with it."""
        self._stopped.set()

    def join(self) -> None:
        """Wait until it has left off."""
        self._thread.join(STOP_S)

    def cancel(self, actor: str, reason: str) -> None:
        """Give it up; nothing of it becomes visible."""
        self._given_up = actor, reason
        self._cancelled.set()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def status(self) -> dict[str, Any]:
        """Progress, for people and programs."""
        done = self._rebaser.state.seq - self.plan.base_seq
        seconds = max(time.monotonic() - self._started, 1e-9)
        live = self._around.models[self._model].published.seq
        state = (
            "done"
            if self.result
            else "failed"
            if self.error
            else "cancelled"
            if self._cancelled.is_set()
            else "running"
        )
        return {
            "model": self._model,
            "state": state,
            "begin": self.begin,
            "replayed": done,
            "remaining": max(0, live - self._rebaser.state.seq) if state == "running" else 0,
            "events_per_s": done / seconds,
            "error": self.error,
            "result": self.result,
            "excluded_lessons": self._rebaser.exclusion.lessons,
            "excluded_rows": self._rebaser.exclusion.rows,
            "learned_rows": self._rebaser.rows.learned,
            "held_rows": self._rebaser.rows.held,
            "unlabelled_rows": self._rebaser.rows.unlabelled,
        }

    def _halted(self) -> bool:
        return self._cancelled.is_set() or self._stopped.is_set()

    def _run(self) -> None:
        try:
            self._catch_up()
        # A rebase that fails, for whatever reason, leaves the live learner as it is.
        except Exception as error:
            self.error = str(error)
            log.error(
                "rebase failed",
                model=self._model,
                error=str(error),
                exc_info=not isinstance(error, ApicalError),
            )
        if self.result is None and not self._stopped.is_set():
            actor, reason = self._given_up or (self._actor, f"failed: {self.error}")
            self._end(actor, reason)

    def _end(self, actor: str, reason: str) -> None:
        # Tried until the queue has room, or the log can be written again; but not beyond a stop:
        # then its begin stays open, and the next start goes on.
        while not self._stopped.is_set():
            with contextlib.suppress(Overloaded):
                end(self._around, self._model, self.begin, self.plan.base, actor, reason)
                return
            self._stopped.wait(RETRY_S)

    def _catch_up(self) -> None:
        live = self._around.models[self._model]
        while live.published.seq - self._rebaser.state.seq > CLOSE_ENOUGH and not self._halted():
            self._rebaser.advance(live.published.seq, self._halted)
        if self._halted():
            return
        swap = Swap(
            self._model, self._actor, self._reason, self.plan.base, self._finish, self._verb
        )
        late = 0
        while True:
            try:
                found = self._around.inbox.ask(swap).result()
                break
            # Ours to try again: a line that sends as fast as it can fills the queue for a while.
            except Overloaded:
                self._stopped.wait(RETRY_S)
            except StagingLate as error:
                late += 1
                while not self._halted() and not wait([error.staging], RETRY_S).done:
                    pass
                if late == SWAPS_TRIED and not self._halted():
                    raise
            if self._halted():
                return
        if "published" in found:
            self.result = found

    def _finish(self, until: int) -> Any:
        if self._halted():
            return None
        self._rebaser.advance(until)
        return self._rebaser.state

    def _verb(self, staged: int) -> Rebase:
        exclusion = self._rebaser.exclusion
        return Rebase(
            staged,
            self.begin,
            self.plan.base,
            [list(pair) for pair in exclusion.ranges],
            exclusion.lessons,
            exclusion.rows,
            exclusion.consequences,
            exclusion.selection.to_json(),
            [list(pair) for pair in exclusion.relearned],
            *astuple(self._rebaser.rows),
        )


def end(around: Around, model: str, begin: int, base: int, actor: str, reason: str) -> None:
    """Close a rebase that nothing came of, so that no start goes on with it.

    Raises
    ------
    Overloaded
        Not now; come again.
    """
    order = Order(model, RebaseCancel(base, begin), actor, reason)
    try:
        around.orders.give(order).result()
    except StorageError as error:
        # The trail cannot be written: a start tries again to carry it out, or to end it.
        log.error("rebase not ended", model=model, begin=begin, error=str(error))


class Rebasings:
    """The rebases of one learner, at most one of each model at a time."""

    def __init__(
        self,
        kernel: Kernel,
        models: Mapping[str, LiveModel],
        inbox: Inbox,
        orders: Orders,
        events: EventLog,
        store: SnapshotStore,
    ) -> None:
        self._around = Around(kernel, models, inbox, orders, events, store)
        self._latest: dict[str, Rebasing] = {}
        self._lock = threading.Lock()

    def preview(self, model: str, selection: Selection, begin: int | None = None) -> Plan:
        """What a rebase ordered by event ``begin`` (or now) does; changes nothing. Raises
        Refused."""
        around = self._around
        seq = around.models[model].published.seq
        return plan(model, selection, around.events, around.store, seq, begin or seq)

    def begin(self, model: str, selection: Selection, actor: str, reason: str) -> Rebasing:
        """Start one; its first event is durable when this returns.

        Raises
        ------
        Refused
            One is running, nothing is selected, or no snapshot is old enough.
        """
        with self._lock:
            if (running := self._latest.get(model)) is not None and running.running:
                raise Refused(
                    f"{model}: a rebase is running since event {running.begin}; "
                    "wait for it or cancel it"
                )
            for left in reversed(range(BASES_TRIED)):
                found = self.preview(model, selection)
                verb = RebaseBegin(found.base, selection.to_json())
                try:
                    order = Order(model, verb, actor, reason)
                    seq = self._around.orders.give(order).result()["seq"]
                    break
                # Retention was faster: from its event on, the base is spared.
                except UnknownSnapshot:
                    if not left:
                        raise
            return self._start(model, seq, found._replace(ordered=seq), actor, reason)

    def resume(self, model: str) -> None:
        """Go on with a rebase that a stop interrupted."""
        # A start takes requests by now, so somebody may have begun another one already.
        with self._lock:
            try:
                self._resume(model)
            # Lines are served already; a stale begin can wait for the next start.
            except Overloaded as error:
                log.warning("rebase not resumed", model=model, error=str(error))

    def _resume(self, model: str) -> None:
        open_: dict[int, tuple[Order, RebaseBegin]] = {}
        for record in self._around.events.naming(model):
            order = Order.from_record(record)
            match order.verb:
                case RebaseBegin() as begun:
                    open_[record.seq] = order, begun
                case Rebase(begin=begin) | RebaseCancel(begin=begin):
                    open_.pop(begin, None)
        for seq in sorted(open_)[:-1]:
            _, begun = open_[seq]
            end(self._around, model, seq, begun.base, "apical", "a newer one began")
        running = self._latest.get(model)
        if not open_ or (running is not None and running.begin in open_):
            return
        seq = max(open_)
        order, begun = open_[seq]
        selection = Selection.from_json(begun.selection)
        actor, reason = order.actor, order.reason
        try:
            found = self.preview(model, selection, seq)
            self._start(model, seq, found, actor, reason)
        # Such as a base that is damaged by now: what was live stays live, and the learner starts.
        except (Refused, StorageError) as error:
            log.error("rebase cannot go on", model=model, error=str(error))
            end(self._around, model, seq, begun.base, actor, str(error))
            return
        log.info("rebase resumed", model=model, begin=seq)

    def latest(self, model: str) -> Rebasing | None:
        """The one that runs, or ran last in this process."""
        return self._latest.get(model)

    def cancel(self, model: str, actor: str, reason: str) -> Rebasing:
        """Raises Refused when none is running."""
        running = self._latest.get(model)
        if running is None or not running.running:
            raise Refused(f"{model}: no rebase is running")
        running.cancel(actor, reason)
        return running

    def stop(self) -> None:
        """Let all leave off; one whose swap is under way waits for the writer's answer."""
        for rebasing in self._latest.values():
            rebasing.stop()

    def join(self) -> None:
        """Wait until all have left off: once every answer that they may wait for was given."""
        for rebasing in self._latest.values():
            rebasing.join()

    def _start(self, model: str, begin: int, found: Plan, actor: str, reason: str) -> Rebasing:
        rebasing = Rebasing(self._around, model, begin, found, actor, reason)
        self._latest[model] = rebasing
        rebasing.start()
        return rebasing
