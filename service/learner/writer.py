"""The writer: one thread that makes events durable before they are acknowledged.

    drain a group → apply each event to private states → one commit → publish → answer

If the commit fails, none of the group happened.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from model_store import failpoints
from model_store.errors import LogError, StorageError
from model_store.log.log import Batch, EventLog, Record
from service.config.limits import Limits
from service.errors import ApicalError, Unavailable
from service.learner.inbox import Inbox
from service.learner.messages import Message
from service.learner.model import LiveModel
from service.learner.requests import LateLabels, Posted, Prepared, Waiting
from service.learner.taken import Taken
from service.metrics.declared import Metrics
from service.metrics.registry import exemplar_of
from service.rows import UNKNOWN

log = structlog.get_logger()

LONG_ROWS = 64
"""Labelled rows from which on an event is long: it is taken by itself, and gives way to others."""

GIVE_WAY_S = 0.02
"""How long a long event learns before other models' events are looked at."""

IDLE_S = 0.25
"""How often an idle writer looks at the clock, for snapshots by time."""

REST_S = 0.002
"""How long the next request may take to come before gate and guard look at what was learned: a line
that asks again at once does not wait for them."""

UNSEEN_EVENTS, UNSEEN_ROWS, UNSEEN_S = 8, 32, 0.05
"""As many events, labelled rows and seconds may pass before they do; a group may be more by
itself."""

Group = list[tuple[Waiting, Taken]]

Do = Callable[[Waiting], bool]
"""Take and commit a verb by itself, at once; whether its event is durable. On the writer's thread
only."""


def _short(waiting: Waiting) -> bool:
    work = waiting.work
    if not isinstance(work, Posted | LateLabels):
        return False
    return work.labels is None or int((work.labels != UNKNOWN).sum()) < LONG_ROWS


class Duties(Protocol):
    """What is done around the commits; all of it on the writer's thread."""

    def alone(self, waiting: Waiting, do: Do) -> None:
        """A snapshot or a swap: everything before it is durable, and nothing after it has begun.
        ``do`` commits the verb that it comes to."""

    def finish(self, waiting: Waiting, taken: Taken) -> None:
        """Count what has just become durable and visible, and carry it out where it is a verb."""

    def hear(self, message: Message, do: Do) -> None:
        """Word from another thread of the process."""

    def oversee(self, group: Group, do: Do) -> None:
        """Look at what was learned, some events later at most, and do what follows from it."""

    def idle(self) -> None:
        """Between two groups."""

    def died(self, error: BaseException) -> None:
        """The writer's thread ends by an error; nobody will be answered any more."""


class Writer:
    """The thread and the commits.

    Parameters
    ----------
    inbox
        Where work comes from.
    models
        Live models by name; may grow until `start`.
    clock
        Unix seconds; receipt times of verbs come from it.
    answered
        Called once a group is answered; may wait for the answers to be sent.
    """

    def __init__(
        self,
        inbox: Inbox,
        models: Mapping[str, LiveModel],
        events: EventLog,
        metrics: Metrics,
        limits: Limits,
        duties: Duties,
        clock: Callable[[], float],
        answered: Callable[[], None],
    ) -> None:
        self._inbox = inbox
        self._models = models
        self._events = events
        self._metrics = metrics
        self._limits = limits
        self._duties = duties
        self._clock = clock
        self._answered = answered
        self._thread = threading.Thread(target=self._write, name="writer")
        # What gate and guard have yet to look at, and since when.
        self._unseen: Group = []
        self._unseen_since = 0.0
        # Events that were taken while a long one gave way; gate and guard see them behind it.
        self._beside: Group = []
        self._gave_way = 0.0
        self._fault: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        """Answer what is queued, then stop."""
        self._inbox.refuse()
        if self.alive:
            self._inbox.end()
            self._thread.join()

    def _do(self, waiting: Waiting) -> bool:
        """Take and commit a verb by itself, at once."""
        taken = self._take(waiting, {})
        return taken is not None and self._settle([(waiting, taken)], {})

    def _write(self) -> None:
        try:
            while self._group():
                if self._inbox.failing:
                    self._probe()
                if not self._unseen:
                    self._duties.idle()
        # Without its writer a learner answers nobody: end, and let the next start recover.
        except BaseException as error:
            self._inbox.failing = f"the writer died: {error!r}"
            self._duties.died(error)
            raise
        finally:
            self._inbox.refuse()
            for item in self._inbox.left():
                if isinstance(item, Waiting):
                    item.future.set_exception(Unavailable("shutting down"))
                else:
                    self._duties.hear(item, lambda waiting: False)

    def _group(self) -> bool:
        """Wait for work, take what waits with it, commit it; False at the end."""
        group: Group = []
        fresh: dict[tuple[str, str], Batch] = {}
        try:
            item = self._inbox.take(REST_S if self._unseen else IDLE_S)
        except queue.Empty:
            self._oversee()
            return True
        deadline = time.perf_counter() + self._limits.group_ms / 1000
        last: Waiting | Message | None = None
        while item is not None and last is None:
            if not isinstance(item, Waiting) or not _short(item):
                # Everything before it must be durable first, and nothing after it have begun.
                last = item
            else:
                self._waited(item)
                taken = self._take(item, fresh)
                if taken is not None:
                    group.append((item, taken))
            if len(group) >= self._limits.group_events or time.perf_counter() >= deadline:
                break
            if last is None:
                try:
                    item = self._inbox.take()
                except queue.Empty:
                    break
        if self._settle(group, fresh):
            self._unseen_since = self._unseen_since if self._unseen else time.perf_counter()
            self._unseen += group
        if last is not None or item is None or self._seen_late():
            self._oversee()
        if isinstance(last, Waiting):
            self._waited(last)
            if isinstance(last.work, Posted | LateLabels):
                self._long(last)
            elif isinstance(last.work, Prepared):
                self._do(last)
            else:
                self._duties.alone(last, self._do)
        elif last is not None:
            self._duties.hear(last, self._do)
        return item is not None

    def _seen_late(self) -> bool:
        return (
            len(self._unseen) >= UNSEEN_EVENTS
            or sum(taken.learned_rows for _, taken in self._unseen) >= UNSEEN_ROWS
            or time.perf_counter() - self._unseen_since >= UNSEEN_S
        )

    def _oversee(self) -> None:
        unseen, self._unseen = self._unseen, []
        self._duties.oversee(unseen, self._do)

    def _long(self, waiting: Waiting) -> None:
        """Take and commit an event that takes long, giving way to other models in between."""
        live, fresh = self._models[waiting.work.model], dict[tuple[str, str], Batch]()
        self._gave_way = time.perf_counter()
        live.between = lambda: self._give_way(live.name)
        try:
            taken = self._take(waiting, fresh)
        finally:
            live.between = lambda: None
        if self._fault is not None:
            raise self._fault
        group = [] if taken is None else [(waiting, taken)]
        settled = self._settle(group, fresh)
        beside, self._beside = self._beside, []
        self._duties.oversee([*beside, *(group if settled else [])], self._do)

    def _give_way(self, model: str) -> None:
        if time.perf_counter() - self._gave_way < GIVE_WAY_S or self._fault is not None:
            return
        deadline = time.perf_counter() + GIVE_WAY_S
        try:
            while time.perf_counter() < deadline:
                other = self._inbox.take_beside(model, _short)
                if other is None:
                    break
                self._waited(other)
                fresh: dict[tuple[str, str], Batch] = {}
                taken = self._take(other, fresh)
                if taken is not None and self._settle([(other, taken)], fresh):
                    self._beside.append((other, taken))
        # It is the writer's end, not the long event's, inside which it came.
        except BaseException as error:
            self._fault = error
        self._gave_way = time.perf_counter()

    def _waited(self, waiting: Waiting) -> None:
        waited = time.perf_counter() - waiting.arrived
        self._metrics.queue_seconds.observe(waited)
        if isinstance(waiting.work, Posted | LateLabels):
            self._metrics.spent(waiting.work.model, "queue", waited)

    def _take(self, waiting: Waiting, fresh: dict[tuple[str, str], Batch]) -> Taken | None:
        work = waiting.work
        assert isinstance(work, Posted | LateLabels | Prepared)

        def recall(model: str, batch_id: str) -> Batch | None:
            return fresh.get((model, batch_id)) or self._events.batch(model, batch_id)

        started = time.perf_counter()
        try:
            taken = self._models[work.model].take(work, self._clock(), recall)
        # Whatever went wrong belongs to this one request; the writer must live on.
        except Exception as error:
            if not isinstance(error, ApicalError | StorageError):
                log.error("request failed", model=work.model, error=str(error), exc_info=True)
            waiting.future.set_exception(error)
            return None
        seconds = time.perf_counter() - started
        if not isinstance(work, Prepared):
            self._metrics.spent(work.model, "compute", seconds)
        if taken.record is not None and taken.scored is not None:
            self._metrics.child(self._metrics.update_seconds, work.model).observe(seconds)
        if taken.batch is not None:
            fresh[work.model, taken.batch.batch_id] = taken.batch
        return taken

    def _settle(self, group: Group, fresh: Mapping[tuple[str, str], Batch]) -> bool:
        """Commit a group, publish, answer; False where nothing of it happened."""
        if not group:
            return True
        records: list[Record] = [taken.record for _, taken in group if taken.record is not None]
        models = [self._models[name] for name in {waiting.work.model for waiting, _ in group}]
        if records or fresh:
            started = time.perf_counter()
            try:
                self._events.commit(records, list(fresh.values()))
            except LogError as error:
                for live in models:
                    live.discard()
                self._inbox.failing = str(error)
                self._metrics.commit_failures.inc()
                log.error("commit failed", events=len(records), error=str(error))
                for waiting, _ in group:
                    waiting.future.set_exception(Unavailable(f"nothing was learned: {error}"))
                return False
            except BaseException as error:
                for waiting, _ in group:
                    waiting.future.set_exception(Unavailable(f"the writer died: {error!r}"))
                raise
            self._inbox.failing = None
            self._committed(group, time.perf_counter() - started)
        failpoints.reach("learner.before_publication")
        for live in models:
            live.publish()
        try:
            for waiting, taken in group:
                self._duties.finish(waiting, taken)
        # Whatever counting comes to: it is durable.
        finally:
            for waiting, taken in group:
                if isinstance(waiting.work, Posted | LateLabels):
                    waiting.future.set_result(taken.answer)
            self._answered()
        return True

    def _committed(self, group: Group, seconds: float) -> None:
        trace = None
        for waiting, _ in group:
            if isinstance(waiting.work, Posted | LateLabels):
                self._metrics.spent(waiting.work.model, "commit", seconds)
                trace = waiting.work.trace or trace
        self._metrics.commit_seconds.observe(seconds, exemplar_of(trace))

    def _probe(self) -> None:
        """See whether the log can be written again."""
        try:
            self._events.probe()
        except LogError as error:
            self._inbox.failing = str(error)
        else:
            self._inbox.failing = None
            log.info("commit works again")
