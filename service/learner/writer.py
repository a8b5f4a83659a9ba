"""The writer: one thread that makes events durable before they are acknowledged.

    drain a group → apply each event to private states → one commit → publish → answer

If the commit fails, none of the group happened.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import structlog

from model_store import failpoints
from model_store.errors import LogError, StorageError
from model_store.log.log import Batch, EventLog, Record
from model_store.snapshots.store import SnapshotStore
from service.config import Limits
from service.dll import State
from service.errors import ApicalError, Overloaded, Unavailable
from service.learner.model import LiveModel, Taken
from service.learner.requests import LateLabels, Posted, Swap, TakeSnapshot, Verb, Work
from service.metrics import Metrics
from service.publishing.taking import load_state

log = structlog.get_logger()

IDLE_S = 0.25
"""How often an idle writer looks at the clock, for snapshots by time."""

Group = list[tuple[Work, Taken]]


class Duties(Protocol):
    """What the learner does around the commits; all of it on the writer's thread."""

    def alone(self, work: TakeSnapshot | Swap) -> None:
        """Everything before it is durable, and nothing after it has begun."""

    def finish(self, work: Work, taken: Taken) -> None:
        """Count and answer what has just become durable and visible."""

    def oversee(self, group: Group) -> None:
        """Look at what was learned, after the answers."""

    def idle(self) -> None:
        """Between two groups."""

    def died(self, error: BaseException) -> None:
        """The writer's thread ends by an error; nobody will be answered any more."""


class Writer:
    """The queue, the thread, and the commits.

    Parameters
    ----------
    models
        Live models by name; may grow until `start`.
    naming
        Held while an event that names a snapshot is taken and committed, so that retention cannot
        delete that snapshot in between.
    """

    def __init__(
        self,
        models: Mapping[str, LiveModel],
        events: EventLog,
        store: SnapshotStore,
        metrics: Metrics,
        limits: Limits,
        duties: Duties,
        naming: AbstractContextManager[object],
    ) -> None:
        self.failing: str | None = None
        self._models = models
        self._events = events
        self._store = store
        self._metrics = metrics
        self._limits = limits
        self._duties = duties
        self._naming = naming
        self._closed = False
        # Nothing may be put behind the last look at the queue.
        self._posting = threading.Lock()
        self._queue: queue.Queue[tuple[float, Work] | None] = queue.Queue(limits.queued_events)
        self._thread = threading.Thread(target=self._write, name="writer")

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def depth(self) -> int:
        """Work that waits."""
        return self._queue.qsize()

    def close(self) -> None:
        """Answer what is queued, then stop."""
        with self._posting:
            self._closed = True
        if self.alive:
            self._queue.put(None)
            self._thread.join()

    def post(self, work: Work) -> None:
        """Queue work; its future is answered when it is done.

        Raises
        ------
        Overloaded
            The queue is full; nothing happened.
        Unavailable
            The log cannot be written, or the process is stopping; nothing happened.
        """
        with self._posting:
            if self._closed:
                raise Unavailable("shutting down")
            if self.failing:
                raise Unavailable(f"the event log cannot be written: {self.failing}", 1.0)
            # From here on the event happens, whether or not its caller still waits.
            work.future.set_running_or_notify_cancel()
            try:
                self._queue.put_nowait((time.perf_counter(), work))
            except queue.Full:
                raise Overloaded(
                    f"the queue is full: {self._limits.queued_events} events wait"
                ) from None

    def do(self, verb: Verb) -> None:
        """Take and commit a verb by itself, at once; on the writer's thread only."""
        with self._naming:
            taken = self._take(verb, {})
            if taken is not None:
                self._settle([(verb, taken)], {})

    def _write(self) -> None:
        try:
            while self._group():
                if self.failing:
                    self._probe()
                self._duties.idle()
        # Without its writer a learner answers nobody: end, and let the next start recover.
        except BaseException as error:
            self.failing = f"the writer died: {error!r}"
            self._duties.died(error)
            raise
        finally:
            with self._posting:
                self._closed = True
            self._refuse_what_waits()

    def _group(self) -> bool:
        """Wait for work, take what waits with it, commit it; False at the end."""
        group: Group = []
        fresh: dict[tuple[str, str], Batch] = {}
        try:
            item = self._queue.get(timeout=IDLE_S)
        except queue.Empty:
            self._duties.oversee([])
            return True
        deadline = time.perf_counter() + self._limits.group_ms / 1000
        last: Verb | TakeSnapshot | Swap | None = None
        while item is not None and last is None:
            arrived, work = item
            self._metrics.queue_seconds.observe(time.perf_counter() - arrived)
            if isinstance(work, Posted | LateLabels):
                taken = self._take(work, fresh)
                if taken is not None:
                    group.append((work, taken))
            else:
                # Everything before it must be durable first, and nothing after it have begun.
                last = work
            if len(group) >= self._limits.group_events or time.perf_counter() >= deadline:
                break
            if last is None:
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
        self._settle(group, fresh)
        self._duties.oversee(group if not self.failing else [])
        if isinstance(last, Verb):
            self.do(last)
        elif last is not None:
            self._duties.alone(last)
        return item is not None

    def _take(
        self, work: Posted | LateLabels | Verb, fresh: dict[tuple[str, str], Batch]
    ) -> Taken | None:
        def recall(model: str, batch_id: str) -> Batch | None:
            return fresh.get((model, batch_id)) or self._events.batch(model, batch_id)

        def load(model: str, version: int) -> State:
            return load_state(self._store, model, version)

        started = time.perf_counter()
        try:
            taken = self._models[work.model].take(work, recall, load)
        # Whatever went wrong belongs to this one request; the writer must live on.
        except Exception as error:
            if not isinstance(error, ApicalError | StorageError):
                log.error("request failed", model=work.model, error=str(error), exc_info=True)
            work.future.set_exception(error)
            return None
        if taken.record is not None and taken.scored is not None:
            self._metrics.update_seconds.labels(work.model).observe(time.perf_counter() - started)
        if taken.batch is not None:
            fresh[work.model, taken.batch.batch_id] = taken.batch
        return taken

    def _settle(self, group: Group, fresh: Mapping[tuple[str, str], Batch]) -> None:
        if not group:
            return
        records: list[Record] = [taken.record for _, taken in group if taken.record is not None]
        models = [self._models[name] for name in {work.model for work, _ in group}]
        if records or fresh:
            started = time.perf_counter()
            try:
                self._events.commit(records, list(fresh.values()))
            except LogError as error:
                for live in models:
                    live.discard()
                self.failing = str(error)
                self._metrics.commit_failures.inc()
                log.error("commit failed", events=len(records), error=str(error))
                for work, _ in group:
                    work.future.set_exception(Unavailable(f"nothing was learned: {error}"))
                return
            except BaseException as error:
                for work, _ in group:
                    work.future.set_exception(Unavailable(f"the writer died: {error!r}"))
                raise
            self.failing = None
            self._metrics.commit_seconds.observe(time.perf_counter() - started)
        failpoints.reach("learner.before_publication")
        for live in models:
            live.publish()
        for work, taken in group:
            self._duties.finish(work, taken)

    def _probe(self) -> None:
        """See whether the log can be written again."""
        try:
            self._events.probe()
        except LogError as error:
            self.failing = str(error)
        else:
            self.failing = None
            log.info("commit works again")

    def _refuse_what_waits(self) -> None:
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
            if item is not None:
                item[1].future.set_exception(Unavailable("shutting down"))
