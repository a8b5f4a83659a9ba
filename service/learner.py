"""The learner: one writer thread that makes events durable before they are acknowledged.

    drain a group → apply each event to private states → one commit → publish → answer

Reads never wait: they are answered from the published state, which is one immutable value.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import queue
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np
import structlog
import torch

from model_store import failpoints
from model_store.errors import ClaimLost, LogError, StorageError
from model_store.log import Batch, EventLog
from model_store.log import Event as Record
from model_store.snapshots import SnapshotStore
from service import describe
from service.champions import CANDIDATE
from service.config import Configuration, Limits
from service.dll import State
from service.drift import Alarm
from service.errors import ApicalError, Overloaded, Unavailable, UnknownModel, UnknownSnapshot
from service.live import LiveModel, Taken
from service.metrics import Metrics
from service.publisher import Done, Job, Publisher
from service.rebasing import Rebasings
from service.records import REPLACING
from service.recovery import Recovered, recover
from service.retention import prune
from service.schema import Readings
from service.snapshot import STAGED, Shot, load_state, take
from service.steward import Steward
from service.watching import Watcher, losses
from service.work import LateLabels, Order, Posted, Swap, TakeSnapshot, Verb, Work, automatic

log = structlog.get_logger()

IDLE_S = 0.25
"""How often an idle writer looks at the clock, for snapshots by time."""


class Learner:
    """All models of a process, their writer thread and their durable side.

    Parameters
    ----------
    configuration
        What to serve.
    store, events
        Open for writing; closed by `close`.
    metrics
        Where it counts.
    clock
        Unix seconds; receipt times come from it.
    progress
        Told, while a log is replayed, the model's name, events done and events in all.
    """

    role = "learner"

    def __init__(
        self,
        configuration: Configuration,
        store: SnapshotStore,
        events: EventLog,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        progress: Callable[[str, int, int], None] = lambda model, done, total: None,
    ) -> None:
        self.configuration = configuration
        self.store = store
        self.events = events
        self.metrics = metrics
        self.clock = clock
        self.models: dict[str, LiveModel] = {}
        self.failing: str | None = None
        self.lost: str | None = None
        self.on_fatal: Callable[[BaseException], None] = lambda error: None
        self.rebasings = Rebasings(self)
        drift = configuration.drift
        self.watcher = Watcher(
            metrics,
            self._drifted,
            rows_per_false_alarm=drift.rows_per_false_alarm,
            max_features=drift.metrics_max_features,
        )
        self._progress = progress
        self._ready = False
        self._closing = False
        self._queue: queue.Queue[tuple[float, Work] | None] = queue.Queue(
            configuration.limits.queued_events
        )
        self._writer = threading.Thread(target=self._write, name="writer")
        self._publisher = Publisher(store, self._job_done, self._job_failed)
        self._due: dict[str, _Cadence] = {}
        self._stewards: dict[str, Steward] = {}
        # From the publisher's thread: what was published; and the writer's own verbs.
        self._notices: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._own: collections.deque[Verb] = collections.deque()

    # Start and stop

    def start(self) -> None:
        """Recover every model, then take requests.

        Raises
        ------
        ConfigurationError
            The configuration does not fit what is stored.
        StorageError
            Log or store cannot be trusted.
        """
        torch.set_num_threads(1)
        orders: list[Verb] = []
        for spec in self.configuration.models:

            def tell(done: int, total: int, model: str = spec.name) -> None:
                self._progress(model, done, total)

            found = recover(spec, self.store, self.events, tell)
            live = self._revive(found, spec.name)
            if spec.step_size != found.state.step_size:
                orders.append(
                    Verb(
                        spec.name,
                        "step_size",
                        self.clock(),
                        "configuration",
                        "apical.toml changed",
                        Order(values={"step_size": spec.step_size}),
                    )
                )
            log.info(
                "model ready",
                model=spec.name,
                seq=found.state.seq,
                snapshot=live.snapshot,
                replayed=found.replayed,
            )
        self.watcher.start()
        self._publisher.start()
        self._writer.start()
        for order in orders:
            self._enqueue(order)
            order.future.result()
        self._ready = True
        for name in self.models:
            self.rebasings.resume(name)

    def _revive(self, found: Recovered, name: str) -> LiveModel:
        """A live model from what was recovered; finish what a crash left half done."""
        spec = next(model for model in self.configuration.models if model.name == name)
        horizon_s = self.configuration.limits.idempotency_days * 86400
        live = LiveModel(spec, found.state, found.prequential, found.snapshot or 0, horizon_s)
        self.models[name] = live
        champions = self._publisher.champions
        if found.snapshot is None:
            self._publisher.perform(Job(live, self._shot(live, "birth")))
        left = champions.unfinished(name, [record for record, _ in found.verbs])
        champions.retrace(name, left)
        for record, state in found.verbs:
            if record in left:
                # Its event was committed; what it does beyond the weights may not have come about.
                self._publisher.perform(self._verb_job(live, record, state))
        champions.repair(name, spec.promotion)
        manifest = self.store.manifest(name, live.snapshot)
        saved = manifest["seq"]
        self._watch(live, manifest)
        self._stewards[name] = self._install(live, manifest)
        self._due[name] = _Cadence(saved, self.clock())
        return live

    def _install(self, live: LiveModel, manifest: dict[str, Any]) -> Steward:
        """Gate and guard, with the champion and the candidate that the aliases name."""
        name = live.name
        steward = Steward(live.spec, self.metrics)
        champion = self._publisher.champions.now(name)
        if champion is not None:
            state = load_state(self.store, name, champion.version)
            steward.crowned(
                champion.version, state, seq=champion.seq, pinned=champion.pinned, replaced=False
            )
        candidate = self._publisher.champions.now(name, CANDIDATE)
        if (
            candidate is not None
            and champion is not None
            and (
                candidate.version > champion.version
                and candidate.version in self.store.versions(name)
            )
        ):
            steward.snapshot_taken(
                candidate.version, load_state(self.store, name, candidate.version)
            )
        steward.restore(manifest["steward"])
        return steward

    def _watch(self, live: LiveModel, manifest: dict[str, Any]) -> None:
        """Watch for drift against the reference in a manifest; collect one where it has none."""
        self.watcher.watch(
            live.name,
            [sensor.name for sensor in live.schema.sensors],
            manifest["drift_reference"],
            self.configuration.drift.reference_rows,
        )

    def close(self) -> None:
        """Answer what is queued, take a last snapshot of what has changed, close log and store."""
        self._ready = False
        self._closing = True
        self.rebasings.close()
        self.watcher.close()
        if self._writer.is_alive():
            self._queue.put(None)
            self._writer.join()
            for live in self.models.values():
                if live.published.seq > self._due[live.name].seq:
                    self._publisher.submit(Job(live, self._shot(live, "shutdown")))
        self._publisher.close()
        self.events.close()
        self.store.close()

    @property
    def limits(self) -> Limits:
        return self.configuration.limits

    @property
    def not_ready(self) -> str | None:
        """Why no request may be sent here now; None when ready."""
        if self._closing:
            return "shutting down"
        if not self._ready:
            return "recovering"
        if self.lost:
            return f"the store is another learner's by now: {self.lost}"
        if self.failing:
            return f"the event log cannot be written: {self.failing}"
        return None

    # What the API calls

    def model(self, name: str) -> LiveModel:
        """Raises UnknownModel."""
        if not self._ready and not self._closing:
            raise Unavailable("not ready: recovering")
        try:
            return self.models[name]
        except KeyError:
            raise UnknownModel(name, sorted(self.models)) from None

    def predict(self, model: str, readings: Readings, batch_id: str | None = None) -> bytes:
        """Answer from the published state, without waiting for anything."""
        answer, probabilities = self.model(model).predict(readings.rows)
        self.watcher.see(model, readings.raw, probabilities)
        return answer

    def describe(self, model: str) -> dict[str, Any]:
        """What `GET /v1/models/{model}` says."""
        return describe.model(self.model(model), self.store)

    def snapshots(self, model: str) -> list[dict[str, Any]]:
        """Outlines of all finished snapshots, oldest first."""
        return describe.snapshots(self.store, model)

    def snapshot(self, model: str, version: int) -> dict[str, Any]:
        """One manifest; raises UnknownSnapshot."""
        self.known_snapshot(model, version)
        return self.store.manifest(model, version)

    def post(self, work: Posted | LateLabels) -> Future[bytes]:
        """Queue what must be durable before it is answered.

        Raises
        ------
        Overloaded
            The queue is full; nothing happened.
        Unavailable
            The log cannot be written, or the process is stopping; nothing happened.
        """
        self._enqueue(work)
        return work.future

    def order(self, work: Verb | TakeSnapshot | Swap) -> Future[dict[str, Any]]:
        """Queue a verb; the future resolves when its event is durable and its effect visible."""
        if isinstance(work, Verb) and work.snapshot is not None:
            self.known_snapshot(work.model, work.snapshot)
        self._enqueue(work)
        return work.future

    def known_snapshot(self, model: str, version: int) -> None:
        """Raises UnknownSnapshot, saying which there are."""
        known = self.store.versions(model)
        if version not in known:
            shown = f"{known[0]}..{known[-1]}" if known else "none"
            raise UnknownSnapshot(
                f"model {model!r}: expected a snapshot among {shown} ({len(known)} kept), "
                f"found {version}"
            )

    def refresh_metrics(self) -> None:
        """Bring the gauges that are read, not counted, up to date; called before a scrape."""
        self.metrics.ready.set(self.not_ready is None)
        self.metrics.queue_depth.set(self._queue.qsize())
        self.watcher.measure()
        self.metrics.log_bytes.set(self.events.size())
        for volume, place in (
            ("log", self.configuration.storage.log),
            ("store", self.configuration.storage.store),
        ):
            if not place.startswith("s3://"):
                disk = shutil.disk_usage(place)
                self.metrics.disk_free_ratio.labels(volume).set(disk.free / disk.total)
        for live in self.models.values():
            describe.measure(live, self.store, self.metrics)
            self._stewards[live.name].measure()
            since = live.published.seq - self._due[live.name].seq
            self.metrics.snapshot_events.labels(live.name).set(since)

    # The writer

    def _enqueue(self, work: Work) -> None:
        if self._closing:
            raise Unavailable("shutting down")
        if self.lost:
            raise Unavailable(f"the store is another learner's by now: {self.lost}")
        if self.failing:
            raise Unavailable(f"the event log cannot be written: {self.failing}", 1.0)
        # From here on the event happens, whether or not its caller still waits.
        work.future.set_running_or_notify_cancel()
        try:
            self._queue.put_nowait((time.perf_counter(), work))
        except queue.Full:
            raise Overloaded(
                f"the queue is full: {self.configuration.limits.queued_events} events wait"
            ) from None

    def _write(self) -> None:
        try:
            self._run()
        # Without its writer a learner answers nobody: end, and let the next start recover.
        except BaseException as error:
            self.failing = f"the writer died: {error!r}"
            self.on_fatal(error)
            self._refuse_what_waits()
            raise

    def _run(self) -> None:
        limits = self.configuration.limits
        stopping = False
        while not stopping:
            group: list[tuple[Work, Taken]] = []
            fresh: dict[tuple[str, str], Batch] = {}
            deadline: float | None = None
            while True:
                try:
                    # Wait for the first, then drain what waits already.
                    item = (
                        self._queue.get(timeout=IDLE_S)
                        if deadline is None
                        else self._queue.get_nowait()
                    )
                except queue.Empty:
                    break
                if item is None:
                    stopping = True
                    break
                arrived, work = item
                if deadline is None:
                    deadline = time.perf_counter() + limits.group_ms / 1000
                self.metrics.queue_seconds.observe(time.perf_counter() - arrived)
                if isinstance(work, TakeSnapshot | Swap):
                    # Everything before it must be durable first, and nothing after it in it.
                    self._settle(group, fresh)
                    self._oversee(group)
                    group, fresh = [], {}
                    if isinstance(work, Swap):
                        self._swap(work)
                    else:
                        self._snapshot_on_demand(work)
                    continue
                taken = self._take(work, fresh)
                if taken is not None:
                    group.append((work, taken))
                    if isinstance(work, Verb):
                        break
                if len(group) >= limits.group_events or time.perf_counter() >= deadline:
                    break
            self._settle(group, fresh)
            self._oversee(group)
            if self.failing and not group:
                self._probe()
            self._snapshot_by_cadence()
        self._refuse_what_waits()

    def _take(
        self, work: Posted | LateLabels | Verb, fresh: dict[tuple[str, str], Batch]
    ) -> Taken | None:
        def recall(model: str, batch_id: str) -> Batch | None:
            return fresh.get((model, batch_id)) or self.events.batch(model, batch_id)

        def load(model: str, version: int) -> State:
            return load_state(self.store, model, version)

        started = time.perf_counter()
        try:
            taken = self.models[work.model].take(work, recall, load)
        # Whatever went wrong belongs to this one request; the writer must live on.
        except Exception as error:
            if not isinstance(error, ApicalError | StorageError):
                log.error("request failed", model=work.model, error=str(error), exc_info=True)
            work.future.set_exception(error)
            return None
        if taken.record is not None and taken.scored is not None:
            self.metrics.update_seconds.labels(work.model).observe(time.perf_counter() - started)
        if taken.batch is not None:
            fresh[work.model, taken.batch.batch_id] = taken.batch
        return taken

    def _settle(
        self, group: list[tuple[Work, Taken]], fresh: Mapping[tuple[str, str], Batch]
    ) -> None:
        """Commit a group, publish it, answer it. If the commit fails, none of it happened."""
        if not group:
            return
        records: list[Record] = [taken.record for _, taken in group if taken.record is not None]
        models = [self.models[name] for name in {work.model for work, _ in group}]
        if records or fresh:
            started = time.perf_counter()
            try:
                self.events.commit(records, list(fresh.values()))
            except LogError as error:
                for live in models:
                    live.discard()
                self.failing = str(error)
                self.metrics.commit_failures.inc()
                log.error("commit failed", events=len(records), error=str(error))
                for work, _ in group:
                    work.future.set_exception(Unavailable(f"nothing was learned: {error}"))
                return
            self.failing = None
            self.metrics.commit_seconds.observe(time.perf_counter() - started)
        failpoints.reach("learner.before_publication")
        for live in models:
            live.publish()
        for work, taken in group:
            self._finish(work, taken)

    def _oversee(self, group: list[tuple[Work, Taken]]) -> None:
        """Let gate and guard see what was learned; what they decide is done before anything else
        is learned. After the answers, so that no line waits for it."""
        while not self._notices.empty():
            self._notices.get()()
        for _, taken in group:
            if taken.record is None or taken.lesson is None or self.failing:
                continue
            steward = self._stewards[taken.record.model]
            try:
                self._own.extend(steward.observe(taken.record.seq, taken.lesson))
            # What watches over the learning must not be able to end it.
            except Exception as error:
                log.error(
                    "gate or guard failed",
                    model=taken.record.model,
                    error=str(error),
                    exc_info=True,
                )
        while self._own:
            verb = dataclasses.replace(self._own.popleft(), received_at=self.clock())
            verb.future.set_running_or_notify_cancel()
            done = self._take(verb, {})
            if done is not None:
                self._settle([(verb, done)], {})

    def _finish(self, work: Work, taken: Taken) -> None:
        live, metrics = self.models[work.model], self.metrics
        if taken.scored is not None:
            live.prequential.observe(*taken.scored)
            self._due[live.name].updates += bool(taken.learned_rows)
            self._lower_step_size(live, len(taken.scored[0]))
        if isinstance(work, Verb):
            assert taken.record is not None
            log.info(
                work.kind,
                model=live.name,
                seq=live.published.seq,
                actor=work.actor,
                reason=work.reason,
                snapshot=work.snapshot,
            )
            self._carry_out(live, work, taken)
            return
        assert isinstance(work, Posted | LateLabels)
        if taken.outcome != "predicted":
            metrics.updates.labels(live.name, taken.outcome).inc()
        metrics.rows.labels(live.name, "learned").inc(taken.learned_rows)
        if taken.outcome == "frozen" and taken.scored is not None:
            metrics.rows.labels(live.name, "frozen").inc(len(taken.scored[0]))
        self._watch_work(live, work, taken)
        work.future.set_result(taken.answer)

    def _lower_step_size(self, live: LiveModel, rows: int) -> None:
        """Count down the labelled rows for which drift has raised the step size."""
        if live.raised_rows == 0:
            return
        live.raised_rows = max(0, live.raised_rows - rows)
        if live.raised_rows == 0:
            with contextlib.suppress(Overloaded):
                self._order_step_size(live, live.spec.step_size, "the rows after a drift are over")

    def _watch_work(self, live: LiveModel, work: Posted | LateLabels, taken: Taken) -> None:
        if isinstance(work, Posted) and taken.probabilities is not None:
            loss = losses(work.labels, taken.probabilities)
            self.watcher.see(live.name, work.readings.raw, taken.probabilities, loss)
        elif taken.scored is not None and taken.record is not None:
            # Late labels: their rows were watched when they came.
            labels, probabilities = taken.scored
            nothing = np.zeros((0, len(live.schema.sensors)), np.float32)
            self.watcher.see(live.name, nothing, probabilities[:0], losses(labels, probabilities))
        if taken.delay_s is not None:
            self.metrics.label_delay_seconds.labels(live.name).observe(taken.delay_s)

    def _carry_out(self, live: LiveModel, work: Verb, taken: Taken) -> None:
        """What a committed verb does beyond the weights; its caller is answered after that."""
        assert taken.record is not None
        job = self._verb_job(live, taken.record, live.published)
        if work.kind == "thaw":
            self._stewards[live.name].thawed()
        elif work.kind == "promote" and work.order.automatic:
            self._stewards[live.name].crowned_seq = taken.record.seq
        self.metrics.verbs.labels(live.name, work.kind, str(work.order.automatic).lower()).inc()

        def answer(done: Future[Done]) -> None:
            error = done.exception()
            if error is not None:
                work.future.set_exception(error)
                return
            manifest, champion = done.result()
            made = {} if manifest is None else {"published": manifest["version"]}
            now = {"champion": champion.version, "pinned": champion.pinned} if champion else {}
            work.future.set_result({**taken.answer, **made, **now})

        job.future.add_done_callback(answer)
        if job.shot is not None:
            self._due[live.name].submitted(live.published.seq, self.clock())
        self._publisher.submit(job)

    def _verb_job(self, live: LiveModel, record: Record, state: State) -> Job:
        shot = None
        if record.kind in REPLACING:
            shot = self._shot(
                live,
                record.kind,
                state=state,
                parent=record.snapshot,
                actor=record.actor or "",
                reason=record.reason or "",
                event=record.seq,
            )
        return Job(live, shot, record)

    def _swap(self, work: Swap) -> None:
        """Let a rebase that has caught up take the live state's place.

        The last events are replayed here, while nothing can be added; then its state is stored,
        and an event names it.
        """
        live = self.models[work.model]
        try:
            state = work.finish(live.published.seq)
            if state is None:
                work.future.set_result({"model": live.name, "state": "cancelled"})
                return
            shot = self._shot(
                live, STAGED, state=state, parent=work.base, actor=work.actor, reason=work.reason
            )
            staged = take(self.store, shot)["version"]
        # It belongs to the rebase; the live learner goes on as it was.
        except Exception as error:
            log.error("rebase failed", model=live.name, error=str(error), exc_info=True)
            work.future.set_exception(error)
            if isinstance(error, ClaimLost):
                self._claim_lost(error)
            return
        verb = Verb(
            live.name,
            "rebase",
            self.clock(),
            work.actor,
            work.reason,
            Order(values=work.values()),
            staged,
            work.future,
        )
        taken = self._take(verb, {})
        if taken is not None:
            self._settle([(verb, taken)], {})

    def _probe(self) -> None:
        """See whether the log can be written again."""
        try:
            self.events.probe()
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

    # Snapshots

    def _shot(
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
            drift_reference=self.watcher.reference(live.name),
            steward=self._stewards[live.name].to_dict() if live.name in self._stewards else None,
        )

    def _snapshot_on_demand(self, work: TakeSnapshot) -> None:
        live = self.models[work.model]
        due = self._due[work.model]
        if due.seq == live.published.seq and live.snapshot and not due.pending:
            try:
                work.future.set_result(self.store.manifest(live.name, live.snapshot))
            # It belongs to this one request; the writer must live on.
            except StorageError as error:
                work.future.set_exception(error)
            return
        job = Job(live, self._shot(live, work.cause, actor=work.actor, reason=work.reason))
        job.future.add_done_callback(lambda done: _hand_manifest(done, work.future))
        due.submitted(live.published.seq, self.clock())
        self._publisher.submit(job)

    def _snapshot_by_cadence(self) -> None:
        now = self.clock()
        for live in self.models.values():
            due, spec = self._due[live.name], live.spec
            if due.pending or live.published.seq == due.seq:
                continue
            if due.updates >= spec.snapshot_every_updates or now - due.at >= spec.snapshot_every_s:
                due.submitted(live.published.seq, now)
                self._publisher.submit(Job(live, self._shot(live, "cadence")))

    def _job_done(self, job: Job, done: Done, seconds: float) -> None:
        name = job.live.name
        self._notices.put(functools.partial(self._published, job, done, self._crown_of(job, done)))
        if done.manifest is None:
            return
        self._due[name].published(done.manifest["seq"])
        self.metrics.snapshots.labels(name, "published").inc()
        self.metrics.snapshot_seconds.labels(name).observe(seconds)
        self.metrics.snapshot_timestamp.labels(name).set(done.manifest["created_at"])
        try:
            prune(self.store, self.events, job.live.spec, self.clock())
        # Room is made at the next snapshot; what was asked for is done.
        except StorageError as error:
            log.error("retention failed", model=name, error=str(error))

    def _crown_of(self, job: Job, done: Done) -> State | None:
        """The state of a champion that a job made, except the gate's own, which the gate knows."""
        champion = done.champion
        if champion is None:
            return None
        if job.shot is not None and done.manifest is not None:
            return job.shot.state if champion.version == done.manifest["version"] else None
        if job.verb is None or job.verb.kind != "promote":
            return None
        if Order.from_bytes(job.verb.payload).automatic:
            return None
        return load_state(self.store, job.live.name, champion.version)

    def _published(self, job: Job, done: Done, crown: State | None) -> None:
        """Tell gate and guard what the publisher did; on the writer's thread."""
        steward = self._stewards[job.live.name]
        if crown is not None and done.champion is not None:
            steward.crowned(
                done.champion.version,
                crown,
                seq=done.champion.seq,
                pinned=done.champion.pinned,
                replaced=job.verb is not None and job.verb.kind in REPLACING,
            )
            if job.verb is not None and job.verb.kind == "rollback":
                assert job.verb.snapshot is not None
                restored = self.store.manifest(job.live.name, job.verb.snapshot)
                self.watcher.restart(job.live.name, restored["drift_reference"])
        elif job.verb is None and job.shot is not None and done.manifest is not None:
            steward.snapshot_taken(done.manifest["version"], job.shot.state)

    def _job_failed(self, job: Job, error: Exception) -> None:
        if job.shot is not None:
            self._due[job.live.name].failed()
            self.metrics.snapshots.labels(job.live.name, "failed").inc()
        if isinstance(error, ClaimLost):
            self._claim_lost(error)

    def _drifted(self, model: str, alarm: Alarm) -> None:
        """Do what is configured for a drift alarm; on the watcher's thread."""
        action = self.configuration.drift.action
        live = self.models[model]
        try:
            if action == "snapshot":
                self.order(TakeSnapshot(model, "drift", reason=alarm.sentence))
            elif action == "raise_step_size" and live.raised_rows == 0:
                live.raised_rows = self.configuration.drift.raised_rows
                self._order_step_size(
                    live,
                    live.spec.step_size * self.configuration.drift.raise_factor,
                    f"drift: {alarm.sentence}",
                )
        # The line comes first: a full queue drops the reaction, not the line's request.
        except Overloaded as error:
            log.warning("no reaction to drift", model=model, error=str(error))

    def _order_step_size(self, live: LiveModel, value: float, reason: str) -> None:
        seq = live.published.seq
        self._enqueue(
            Verb(
                live.name,
                "step_size",
                self.clock(),
                "drift",
                reason,
                automatic((seq, seq), step_size=value),
            )
        )

    def _claim_lost(self, error: ClaimLost) -> None:
        """Another learner has the store; going on would acknowledge what it never sees."""
        self.lost = str(error)
        self.on_fatal(error)


class _Cadence:
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
