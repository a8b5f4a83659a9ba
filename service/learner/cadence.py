"""When snapshots of live models are taken, and of what; the publisher takes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import replace
from typing import Any

from model_store.log.log import Record
from model_store.snapshots.store import SnapshotStore
from service.errors import StagingLate
from service.history.verbs import replaces
from service.kernels.kernel import Kernel
from service.learner.model import LiveModel
from service.learner.recovery import Replayed
from service.learner.requests import Swap, TakeSnapshot
from service.learner.steward import Steward
from service.manifest import STAGED, Manifest
from service.metrics.declared import Metrics
from service.publishing.publisher import Done, Failed, Finished, Job, Publisher
from service.publishing.taking import Shot, take
from service.state import State
from service.watcher import Watcher

STAGING_S = 3.0
"""How long labels may wait for the store to keep the state of a rebase."""

SHARE = 0.1
"""Of the time that may pass in taking snapshots by labelled rows, once there is a champion: where
rows come at full rate, a learner that takes one after the other learns at half the speed."""


class Snapshotting:
    """The cadence of every model's snapshots, and what they are taken of; on the writer's thread.

    Parameters
    ----------
    stewards
        Gate and guard by model: what manifests say of them, and which versions they still need.
    watcher
        Whose drift references go into manifests.
    """

    def __init__(
        self,
        publisher: Publisher,
        store: SnapshotStore,
        kernel: Kernel,
        metrics: Metrics,
        clock: Callable[[], float],
        stewards: Mapping[str, Steward],
        watcher: Watcher,
    ) -> None:
        self._publisher = publisher
        self._store = store
        self._kernel = kernel
        self._metrics = metrics
        self._clock = clock
        self._stewards = stewards
        self._watcher = watcher
        self._due: dict[str, Cadence] = {}

    def add(self, live: LiveModel, newest: Manifest, age_s: float) -> None:
        """Snapshot this model from now on; ``newest`` is its newest snapshot."""
        self._due[live.name] = Cadence(newest, self._clock, age_s)

    def last(self, models: Iterable[LiveModel]) -> None:
        """Ask for a last snapshot of every model that has changed."""
        for live in models:
            if live.published.seq > self._due[live.name].seq:
                self._submit(live, self.job(live, self.shot(live, "shutdown")))

    def learned(self, live: LiveModel, rows: int) -> None:
        """Count one request's learned rows towards the next snapshot."""
        due = self._due[live.name]
        due.updates += 1
        due.rows += rows

    def age(self, live: LiveModel) -> float:
        """Seconds since the newest snapshot was taken, by a clock that nobody sets."""
        return self._due[live.name].age()

    def since(self, live: LiveModel) -> int:
        """Events since the newest snapshot that was asked for."""
        return live.published.seq - self._due[live.name].seq

    def by_cadence(self, models: list[LiveModel]) -> None:
        """Ask for the snapshots that are due."""
        now = self._clock()
        for live in models:
            due, spec = self._due[live.name], live.spec
            if due.job is not None or live.published.seq == due.seq:
                continue
            # The old key counts requests, whatever their rows.
            every, done = spec.snapshot_every_updates, due.updates
            if every is None:
                every, done = spec.snapshot_every_rows, due.rows
            by_rows = done >= every and not self._rests(live, now)
            if by_rows or now - due.at >= spec.snapshot_every_s:
                self._submit(live, self.job(live, self.shot(live, "cadence")))

    def _rests(self, live: LiveModel, now: float) -> bool:
        # Before the first champion nothing is waited for more than one.
        steward = self._stewards.get(live.name)
        return now < self._due[live.name].rests_until and (
            steward is not None and steward.status == "champion"
        )

    def on_demand(
        self, live: LiveModel, work: TakeSnapshot, future: Future[dict[str, Any]] | None = None
    ) -> None:
        """Take one now, or give the one that there is or will be of the same event."""
        future = future or Future()
        due = self._due[live.name]
        job = due.job
        if job is None or due.seq != live.published.seq:
            if due.seq == live.published.seq and due.manifest is not None:
                future.set_result(due.manifest.to_json())
                return
            shot = self.shot(live, work.cause, actor=work.actor, reason=work.reason)
            job = self.job(live, shot)
            self._submit(live, job)
        # However many ask while one is being taken, it is one snapshot.
        job.future.add_done_callback(lambda done: _hand_manifest(done, future))

    def stage(self, live: LiveModel, work: Swap, state: State) -> int:
        """Store the state of a rebase ahead of its event: its version.

        Raises
        ------
        StagingLate
            The store hangs; the writer, and all whose labels it takes, must not.
        """
        shot = self.shot(
            live, STAGED, state=state, parent=work.base, actor=work.actor, reason=work.reason
        )
        staging: Future[int] = Future()

        def stage() -> None:
            try:
                staging.set_result(take(self._store, self._kernel, shot).version)
            except BaseException as error:
                staging.set_exception(error)

        threading.Thread(target=stage, name=f"stage {live.name}", daemon=True).start()
        if not wait([staging], STAGING_S).done:
            raise StagingLate(
                f"{self._store.location}: expected the rebased state to be stored within "
                f"{STAGING_S:g} s, found it still under way",
                staging,
            )
        return staging.result()

    def carry_out(
        self, live: LiveModel, verb: Record, answer: Callable[[Future[Done]], None]
    ) -> None:
        """Do what a committed verb does beyond the weights; ``answer`` is called after that."""
        job = self.verb_job(live, verb, live.published)
        job.future.add_done_callback(answer)
        self._submit(live, job)

    def verb_job(
        self,
        live: LiveModel,
        verb: Record,
        state: State,
        then: Replayed | None = None,
    ) -> Job:
        """The publisher's part of a verb after which the state is ``state``; ``then`` is what else
        was so at its event, where that is not the present."""
        if not replaces(verb):
            return self.job(live, None, verb)
        shot = self.shot(
            live,
            verb.kind,
            state=state,
            parent=verb.snapshot,
            actor=verb.actor or "",
            reason=verb.reason or "",
            event=verb.seq,
        )
        if then is not None:
            shot = replace(
                shot,
                score=then.score[0],
                summary=then.score[1],
                configured_step_size=then.configured_step_size,
                raised_rows=then.raised_rows,
            )
        return self.job(live, shot, verb)

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
        steward = self._stewards.get(live.name)
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
            drift_reference=self._watcher.reference(live.name),
            steward=steward.to_dict() if steward is not None else None,
            configured_step_size=live.configured_step_size,
            raised_rows=live.raised_rows,
            alarms=live.alarms.to_dict(),
        )

    def job(self, live: LiveModel, shot: Shot | None, verb: Record | None = None) -> Job:
        """A job for the publisher, with what it must spare."""
        steward = self._stewards.get(live.name)
        return Job(live.spec, shot, verb, frozenset(steward.held() if steward is not None else ()))

    def finished(self, live: LiveModel, finished: Finished) -> None:
        """The publisher has done a job: what the model's newest snapshot is by now."""
        manifest = finished.done.manifest
        if manifest is None:
            return
        live.snapshot = manifest.version
        due = self._due[live.name]
        due.published(manifest, finished.job)
        due.rests_until = self._clock() + finished.seconds * (1 / SHARE - 1)
        self._metrics.snapshots.labels(live.name, "published").inc()
        self._metrics.snapshot_seconds.labels(live.name).observe(finished.seconds)

    def failed(self, live: LiveModel, failed: Failed) -> None:
        """A job of the publisher's came to nothing."""
        if failed.job.shot is not None:
            self._due[live.name].failed(failed.job)
            self._metrics.snapshots.labels(live.name, "failed").inc()

    def _submit(self, live: LiveModel, job: Job) -> None:
        if job.shot is not None:
            self._due[live.name].submitted(job, job.shot.state.seq)
        self._publisher.submit(job)


class Cadence:
    """What the next snapshot of a model waits for.

    Parameters
    ----------
    clock
        Seconds that only ever go forward: the clock on the wall may be set.
    age_s
        How old ``newest`` is.
    """

    def __init__(self, newest: Manifest, clock: Callable[[], float], age_s: float) -> None:
        self.manifest: Manifest | None = newest
        self.seq = self.saved = newest.seq
        self.updates = self.rows = 0
        self.rests_until = 0.0
        self.job: Job | None = None
        """The last one that was asked for, until it is done."""
        self._clock = clock
        self.at = clock()
        self._taken = self.at - max(0.0, age_s)

    def age(self) -> float:
        return self._clock() - self._taken

    def submitted(self, job: Job, seq: int) -> None:
        self.seq, self.at, self.updates, self.rows, self.job = seq, self._clock(), 0, 0, job

    def published(self, manifest: Manifest, job: Job) -> None:
        self.saved = max(self.saved, manifest.seq)
        self.seq = max(self.seq, manifest.seq)
        self.manifest = manifest
        self._taken = self._clock()
        self._done(job)

    def failed(self, job: Job) -> None:
        # What was asked for is not there: whoever asks again must not be told that it is.
        self._done(job)
        if self.job is None:
            self.seq = self.saved

    def _done(self, job: Job) -> None:
        if self.job is job:
            self.job = None


def _hand_manifest(done: Future[Done], into: Future[dict[str, Any]]) -> None:
    error = done.exception()
    if error is not None:
        into.set_exception(error)
        return
    manifest = done.result().manifest
    assert manifest is not None
    into.set_result(manifest.to_json())
