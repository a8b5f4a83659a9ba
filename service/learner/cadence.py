"""When snapshots of live models are taken, and of what; the publisher takes them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import structlog

from model_store.errors import ClaimLost, StorageError
from model_store.log.log import EventLog, Record
from model_store.snapshots.store import SnapshotStore
from service.dll import State
from service.history.lessons import REPLACING
from service.learner.model import LiveModel
from service.learner.requests import Swap, TakeSnapshot
from service.manifest import STAGED
from service.metrics import Metrics
from service.publishing.publisher import Done, Job, Publisher
from service.publishing.retention import prune
from service.publishing.taking import Shot, take

log = structlog.get_logger()


class Snapshotting:
    """The cadence of every model's snapshots, and the publisher's jobs.

    Parameters
    ----------
    extras
        What else goes into a manifest: gate, guard and drift reference of a model by name.
    held
        Versions of a model that gate and guard still need.
    on_done
        Called from the publisher's thread with every job and what it did.
    on_lost
        Another process has the store's write side.
    """

    def __init__(
        self,
        store: SnapshotStore,
        events: EventLog,
        metrics: Metrics,
        clock: Callable[[], float],
        extras: Callable[[str], dict[str, Any]],
        held: Callable[[str], set[int]],
        on_done: Callable[[Job, Done], None],
        on_lost: Callable[[ClaimLost], None],
    ) -> None:
        self.naming = threading.Lock()
        self.publisher = Publisher(store, self._done, self._failed)
        self.champions = self.publisher.champions
        self._store = store
        self._events = events
        self._metrics = metrics
        self._clock = clock
        self._extras = extras
        self._held = held
        self._on_done = on_done
        self._on_lost = on_lost
        self._due: dict[str, Cadence] = {}

    def add(self, live: LiveModel, saved_seq: int) -> None:
        """Snapshot this model from now on; its newest snapshot is of event ``saved_seq``."""
        self._due[live.name] = Cadence(saved_seq, self._clock())

    def close(self, models: list[LiveModel], *, last: bool) -> None:
        """Finish; if ``last``, with a snapshot of every model that has changed."""
        for live in models:
            if last and live.published.seq > self._due[live.name].seq:
                self.publisher.submit(Job(live, self.shot(live, "shutdown")))
        self.publisher.close()

    def birth(self, live: LiveModel) -> None:
        """The first snapshot of a newborn, taken on this thread."""
        self.publisher.perform(Job(live, self.shot(live, "birth")))

    def learned(self, live: LiveModel) -> None:
        """Count one update towards the next snapshot."""
        self._due[live.name].updates += 1

    def since(self, live: LiveModel) -> int:
        """Events since the newest snapshot that was asked for."""
        return live.published.seq - self._due[live.name].seq

    def by_cadence(self, models: list[LiveModel]) -> None:
        """Ask for the snapshots that are due."""
        now = self._clock()
        for live in models:
            due, spec = self._due[live.name], live.spec
            if due.pending or live.published.seq == due.seq:
                continue
            if due.updates >= spec.snapshot_every_updates or now - due.at >= spec.snapshot_every_s:
                self._submit(Job(live, self.shot(live, "cadence")))

    def on_demand(self, live: LiveModel, work: TakeSnapshot) -> None:
        """Take one now, or give the newest where nothing has happened since."""
        due = self._due[live.name]
        if due.seq == live.published.seq and live.snapshot and not due.pending:
            try:
                work.future.set_result(self._store.manifest(live.name, live.snapshot))
            # It belongs to this one request; the writer must live on.
            except StorageError as error:
                work.future.set_exception(error)
            return
        job = Job(live, self.shot(live, work.cause, actor=work.actor, reason=work.reason))
        job.future.add_done_callback(lambda done: _hand_manifest(done, work.future))
        self._submit(job)

    def stage(self, live: LiveModel, work: Swap, state: State) -> int:
        """Store the state of a rebase ahead of its event: its version. On this thread."""
        shot = self.shot(
            live, STAGED, state=state, parent=work.base, actor=work.actor, reason=work.reason
        )
        version: int = take(self._store, shot)["version"]
        return version

    def carry_out(
        self, live: LiveModel, verb: Record, answer: Callable[[Future[Done]], None]
    ) -> None:
        """Do what a committed verb does beyond the weights; ``answer`` is called after that."""
        job = self.verb_job(live, verb, live.published)
        job.future.add_done_callback(answer)
        self._submit(job)

    def verb_job(
        self,
        live: LiveModel,
        verb: Record,
        state: State,
        score: tuple[dict[str, Any], dict[str, Any]] | None = None,
    ) -> Job:
        """The publisher's part of a verb after which the state is ``state``; ``score`` is that of
        then, where it is not the present one."""
        if verb.kind not in REPLACING:
            return Job(live, None, verb)
        shot = self.shot(
            live,
            verb.kind,
            state=state,
            parent=verb.snapshot,
            actor=verb.actor or "",
            reason=verb.reason or "",
            event=verb.seq,
        )
        if score is not None:
            shot = replace(shot, score=score[0], summary=score[1])
        return Job(live, shot, verb)

    def shot(
        self,
        live: LiveModel,
        cause: str,
        *,
        state: State | None = None,
        parent: int | None = None,
        actor: str = "apical",
        reason: str = "",
        event: int | None = None,
    ) -> Shot:
        """What a snapshot of the published state, or of ``state``, is taken of."""
        return Shot(
            live.name,
            live.schema,
            state or live.published,
            live.prequential.arrays(),
            live.prequential.summary(),
            live.recent,
            cause,
            parent if parent is not None else live.snapshot or None,
            actor,
            reason,
            event,
            **self._extras(live.name),
        )

    def _submit(self, job: Job) -> None:
        if job.shot is not None:
            self._due[job.live.name].submitted(job.shot.state.seq, self._clock())
        self.publisher.submit(job)

    def _done(self, job: Job, done: Done, seconds: float) -> None:
        name = job.live.name
        self._on_done(job, done)
        if done.manifest is None:
            return
        self._due[name].published(done.manifest["seq"])
        self._metrics.snapshots.labels(name, "published").inc()
        self._metrics.snapshot_seconds.labels(name).observe(seconds)
        self._metrics.snapshot_timestamp.labels(name).set(done.manifest["created_at"])
        try:
            with self.naming:
                held = self._held(name)
                prune(
                    self._store,
                    self._events,
                    name,
                    self._clock(),
                    held,
                    keep_last=job.live.spec.keep_snapshots,
                    keep_aliased_days=job.live.spec.keep_aliased_days,
                )
        # Room is made at the next snapshot; what was asked for is done.
        except StorageError as error:
            log.error("retention failed", model=name, error=str(error))

    def _failed(self, job: Job, error: Exception) -> None:
        if job.shot is not None:
            self._due[job.live.name].failed()
            self._metrics.snapshots.labels(job.live.name, "failed").inc()
        if isinstance(error, ClaimLost):
            self._on_lost(error)


class Cadence:
    """What the next snapshot of a model waits for."""

    def __init__(self, seq: int, now: float) -> None:
        self.seq = self.saved = seq
        self.at = now
        self.updates = 0
        self.pending = 0

    def submitted(self, seq: int, now: float) -> None:
        self.seq, self.at, self.updates = seq, now, 0
        self.pending += 1

    def published(self, seq: int) -> None:
        self.saved = max(self.saved, seq)
        self.seq = max(self.seq, seq)
        self.pending -= 1

    def failed(self) -> None:
        # What was asked for is not there: whoever asks again must not be told that it is.
        self.seq = self.saved
        self.pending -= 1


def _hand_manifest(done: Future[Done], into: Future[dict[str, Any]]) -> None:
    error = done.exception()
    if error is not None:
        into.set_exception(error)
        return
    manifest = done.result().manifest
    assert manifest is not None
    into.set_result(manifest)
