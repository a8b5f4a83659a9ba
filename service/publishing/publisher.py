"""The thread that takes snapshots and carries out verbs, without stalling the writer.

A state is immutable, so the writer hands over a reference at an event boundary and goes on. Jobs
are done strictly one after the other: what is visible in the store is always a prefix of them.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import structlog

from model_store import failpoints
from model_store.errors import ClaimLost, StorageError, StoreUnavailable
from model_store.log.log import EventLog, Record
from model_store.snapshots.aliases import Alias
from model_store.snapshots.store import SnapshotStore
from service.config.model import Model
from service.history.verbs import Order, Promote
from service.kernels.kernel import Kernel
from service.manifest import Manifest, manifest_of, readable
from service.publishing.champions import Champions
from service.publishing.retention import Retention
from service.publishing.taking import Shot, load_state, take
from service.state import State

log = structlog.get_logger()

STOP_S = 10.0
"""How long a stop waits for the store."""

RETRY_S = 1.0
"""Between two tries of a verb whose event is committed while the store cannot be reached."""


class Done(NamedTuple):
    """What a job did: the manifest of its snapshot, if it took one; the champion after it; and that
    champion's state where the job made it champion by anything but the gate, which has it."""

    manifest: Manifest | None
    champion: Alias | None
    crown: State | None


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A snapshot to take, the effect of a committed verb to carry out, or both in this order.

    Parameters
    ----------
    held
        Versions of the model that gate and guard still need: retention spares them.
    future
        Resolved by whoever hears what the publisher reports of it.
    """

    spec: Model
    shot: Shot | None = None
    verb: Record | None = None
    held: frozenset[int] = frozenset()
    future: Future[Done] = field(default_factory=Future)

    @property
    def model(self) -> str:
        return self.spec.name


class Finished(NamedTuple):
    """The publisher's report of a job that it has done."""

    job: Job
    done: Done
    seconds: float


class Failed(NamedTuple):
    """The publisher's report of a job that came to nothing."""

    job: Job
    error: Exception


class Publisher:
    """One thread, one queue.

    Parameters
    ----------
    store
        Open for writing.
    events
        Whose records name snapshots that retention must spare.
    clock
        Unix seconds, for retention.
    report
        Told of every job, on the publisher's thread.
    forgotten
        The receipt time before which batches need not be remembered any more.
    """

    def __init__(
        self,
        store: SnapshotStore,
        events: EventLog,
        kernel: Kernel,
        clock: Callable[[], float],
        report: Callable[[Finished | Failed], None],
        forgotten: Callable[[], float],
    ) -> None:
        self.champions = Champions(store)
        self.retention = Retention(store, events, clock)
        self._store = store
        self._kernel = kernel
        self._report = report
        self._events = events
        self._forgotten = forgotten
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._undone: set[str] = set()
        self._closing = threading.Event()
        # A daemon: a store that hangs must not keep a process that stops.
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def check(self, model: str) -> None:
        """Whether verbs can be carried out now, asked before their event is committed.

        Raises
        ------
        StoreUnavailable
            One before was not carried out.
        AuditDamaged, StoreUnavailable
            The trail cannot be written.
        """
        self._refuse_behind_undone(model)
        self._store.audit(model).head()

    def blocked(self, model: str) -> str | None:
        """Why no verb of a model can be carried out until the learner is restarted."""
        try:
            self._refuse_behind_undone(model)
        except StoreUnavailable as error:
            return str(error)
        return None

    def submit(self, job: Job) -> None:
        self._jobs.put(job)

    def close(self) -> None:
        """Finish what was submitted, then stop; not beyond `STOP_S` where the store hangs: what
        was not done is done at the next start."""
        self._closing.set()
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join(STOP_S)
            if self._thread.is_alive():
                log.error("the store hangs; the next start makes up for what it was asked for")

    def perform(self, job: Job) -> Done:
        """Do a job now, on the caller's thread.

        Raises
        ------
        ParityBroken
            The graph's answers are not the network's; nothing was published.
        StorageError
            The store refused; what was live stays live.
        """
        name, manifest = job.model, None
        if job.shot is not None:
            manifest = self._taken(job) or take(
                self._store, self._kernel, self._headed(self._restored(job, job.shot))
            )
            failpoints.reach("snapshot.before_alias")
            if job.verb is None:
                self.champions.published(name, manifest, job.spec.promotion)
        # Before the verb's line in the trail: until that is written, all of this can be repeated.
        promoted = self._promoted(job)
        if job.verb is not None:
            made = manifest.version if manifest is not None else None
            self.champions.effect(job.verb, made)
        champion = self.champions.now(name)
        crown = promoted
        if manifest is not None and job.shot is not None and champion is not None:
            crown = job.shot.state if champion.version == manifest.version else None
        return Done(manifest, champion, crown)

    def _promoted(self, job: Job) -> State | None:
        """The state that a person's promote makes champion."""
        if job.verb is None:
            return None
        order = Order.from_record(job.verb)
        if not isinstance(order.verb, Promote) or order.automatic:
            return None
        return load_state(self._store, job.model, order.verb.version)

    def _headed(self, shot: Shot) -> Shot:
        """Which log it belongs to: the chain of it says."""
        return replace(shot, log_head=self._events.head_at(shot.model, shot.state.seq))

    def _restored(self, job: Job, shot: Shot) -> Shot:
        """What is to be stored: the drift reference of then comes back with the state of then."""
        if job.verb is None:
            return shot
        verb = Order.from_record(job.verb).verb
        if not verb.effects.restores_reference or verb.named is None:
            return shot
        # Read here, not by the writer: the store may be out of reach for a while.
        then = manifest_of(self._store, shot.model, verb.named).drift_reference
        return replace(shot, drift_reference=then or shot.drift_reference)

    def _taken(self, job: Job) -> Manifest | None:
        """The snapshot of a verb, if an earlier try got as far as publishing it."""
        if job.verb is None or job.shot is None:
            return None
        for manifest in readable(self._store, job.model):
            if manifest.event == job.shot.event:
                return manifest
            if manifest.seq < job.shot.state.seq:
                break
        return None

    def shut(self, model: str) -> None:
        """Do nothing more for a model, one of whose committed verbs was not carried out: a start
        makes up for verbs behind the newest snapshot only, so there must be none after it."""
        self._undone.add(model)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            started = time.perf_counter()
            try:
                done = self._persistently(job)
            # One job that fails, for whatever reason, must not end all later ones.
            except Exception as error:
                log.error(
                    "snapshot failed" if job.verb is None else f"{job.verb.kind} not carried out",
                    model=job.model,
                    error=str(error),
                    exc_info=True,
                )
                if job.verb is not None:
                    self.shut(job.model)
                self._report(Failed(job, error))
                continue
            took = time.perf_counter() - started
            self._report(Finished(job, done, took))
            if done.manifest is not None:
                log.info(
                    "snapshot published",
                    model=job.model,
                    version=done.manifest.version,
                    seq=done.manifest.seq,
                    cause=done.manifest.cause,
                    seconds=round(took, 4),
                )
                self._prune(job)

    def _prune(self, job: Job) -> None:
        try:
            self.retention.prune(
                job.model,
                job.held,
                keep_last=job.spec.keep_snapshots,
                keep_aliased_days=job.spec.keep_aliased_days,
            )
            self._events.forget(job.model, self._forgotten())
        # Room is made at the next snapshot; what was asked for is done.
        except Exception as error:
            known = isinstance(error, StorageError)
            log.error("retention failed", model=job.model, error=str(error), exc_info=not known)

    def _refuse_behind_undone(self, model: str) -> None:
        if model in self._undone:
            raise StoreUnavailable(
                f"{model}: a verb before this was not carried out, see the learner's log; mend the "
                "store and restart the learner"
            )

    def _persistently(self, job: Job) -> Done:
        self._refuse_behind_undone(job.model)
        while True:
            try:
                return self.perform(job)
            except ClaimLost:
                raise
            except StoreUnavailable as error:
                # The next cadence takes another snapshot; a committed verb must come about, and
                # before anything that follows it. Whatever is left at the end is done at start.
                if job.verb is None or self._closing.is_set():
                    raise
                log.warning(f"{job.verb.kind} waits for the store", error=str(error))
                self._closing.wait(RETRY_S)
