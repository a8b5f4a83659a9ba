"""The learner: its models, from recovery to the last snapshot, and what the API calls.

Events are made durable by the writer, snapshots taken by the publisher, gate and guard kept by a
steward for each model, drift watched beside it all; here they meet. Reads never wait: they are
answered from the published state, which is one immutable value.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import queue
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import structlog
import torch

from model_store.errors import ClaimLost, SnapshotDamaged, StorageError
from model_store.log.log import EventLog
from model_store.snapshots.store import SnapshotStore
from service.config import Configuration, Limits, Model
from service.drift import Alarm
from service.errors import Overloaded, Refused, Unavailable, UnknownModel, UnknownSnapshot
from service.history.lessons import REPLACING
from service.learner import describe
from service.learner.cadence import Snapshotting
from service.learner.model import LiveModel, Taken
from service.learner.rebasings import Rebasings
from service.learner.recovery import Recovered, recover
from service.learner.requests import (
    LateLabels,
    Order,
    Posted,
    Swap,
    TakeSnapshot,
    Verb,
    Work,
    automatic,
)
from service.learner.steward import Steward
from service.learner.writer import Group, Writer
from service.manifest import CANDIDATE, STAGED
from service.metrics import Metrics
from service.publishing.publisher import Done, Job
from service.publishing.taking import load_state
from service.schema import Readings
from service.watcher import Watcher, losses

log = structlog.get_logger()


class Learner:
    """All models of a process.

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
        self.lost: str | None = None
        self.on_fatal: Callable[[BaseException], None] = lambda error: None
        self.rebasings = Rebasings(self)
        self.watcher = Watcher(
            metrics,
            self._drifted,
            rows_per_false_alarm=configuration.drift.rows_per_false_alarm,
            max_features=configuration.drift.metrics_max_features,
        )
        self._progress = progress
        self._ready = False
        self._closing = False
        self._stewards: dict[str, Steward] = {}
        # What gate and guard decided, until it is durable.
        self._decided: collections.deque[Verb] = collections.deque()
        # From the publisher's thread to the writer's: what was published.
        self._notices: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._snapshotting = Snapshotting(
            store, events, metrics, clock, self._extras, self.held, self._notice, self._claim_lost
        )
        self._writer = Writer(
            self.models,
            events,
            store,
            metrics,
            configuration.limits,
            self,
            self._snapshotting.naming,
        )

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
        for spec in self.configuration.models:
            tell = functools.partial(self._progress, spec.name)
            found = recover(spec, self.store, self.events, tell)
            live = self._revive(spec, found)
            log.info(
                "model ready",
                model=spec.name,
                seq=found.state.seq,
                snapshot=live.snapshot,
                replayed=found.replayed,
            )
        self.watcher.start()
        self._snapshotting.publisher.start()
        self._writer.start()
        for live in self.models.values():
            if live.spec.step_size != live.published.step_size:
                self._configure_step_size(live)
        self._ready = True
        for name in self.models:
            self.rebasings.resume(name)

    def close(self) -> None:
        """Answer what is queued, take a last snapshot of what has changed, close log and store."""
        self._ready = False
        self._closing = True
        self.rebasings.close()
        self.watcher.close()
        whole = self._writer.alive
        self._writer.close()
        self._snapshotting.close(list(self.models.values()), last=whole)
        try:
            self.events.close()
        finally:
            self.store.close()

    def _revive(self, spec: Model, found: Recovered) -> LiveModel:
        """A live model from what was recovered; finish what a crash left half done."""
        name = spec.name
        horizon_s = self.configuration.limits.idempotency_days * 86400
        live = LiveModel(spec, found.state, found.prequential, found.snapshot or 0, horizon_s)
        champions, publisher = self._snapshotting.champions, self._snapshotting.publisher
        reference = None
        if found.snapshot is not None:
            reference = self.store.manifest(name, found.snapshot)["drift_reference"]
        sensors = [sensor.name for sensor in live.schema.sensors]
        self.watcher.watch(name, sensors, reference, self.configuration.drift.reference_rows)
        if found.snapshot is None:
            self._snapshotting.birth(live)
        left = champions.unfinished(name, [verb.record for verb in found.verbs])
        champions.retrace(name, left)
        for verb in found.verbs:
            if verb.record in left:
                # Its event was committed; what it does beyond the weights may not have come about.
                job = self._snapshotting.verb_job(live, verb.record, verb.state, verb.score)
                try:
                    publisher.perform(job)
                # The state is right either way; a learner that does not start helps nobody.
                except Exception as error:
                    log.error(
                        f"{verb.record.kind} of event {verb.record.seq} not carried out",
                        model=name,
                        error=str(error),
                        exc_info=True,
                    )
            if verb.record.kind == "rollback" and verb.record.snapshot is not None:
                # Behind the newest snapshot, which has the reference of before.
                with contextlib.suppress(StorageError):
                    then = self.store.manifest(name, verb.record.snapshot)
                    self.watcher.restart(name, then["drift_reference"])
        champions.repair(name, spec.promotion)
        self._stewards[name] = self._install(live)
        manifest = self.store.manifest(name, live.snapshot)
        self._snapshotting.add(live, manifest["seq"])
        self.metrics.snapshot_timestamp.labels(name).set(manifest["created_at"])
        self.models[name] = live
        return live

    def _install(self, live: LiveModel) -> Steward:
        """Gate and guard, with the champion and the candidate that the aliases name."""
        name = live.name
        steward = Steward(live.spec, self.metrics)
        champions = self._snapshotting.champions
        champion = champions.now(name)
        while champion is not None:
            try:
                state = load_state(self.store, name, champion.version)
                break
            except SnapshotDamaged as error:
                champions.quarantine(name, champion.version, error)
                champions.repair(name, live.spec.promotion)
                champion = champions.now(name)
        if champion is None:
            return steward
        steward.crowned(
            champion.version, state, seq=champion.seq, pinned=champion.pinned, replaced=False
        )
        candidate = champions.now(name, CANDIDATE)
        if (
            candidate is not None
            and candidate.version > champion.version
            and candidate.version in self.store.versions(name)
        ):
            # A damaged candidate is no candidate; `verify` names it.
            with contextlib.suppress(SnapshotDamaged):
                waiting = load_state(self.store, name, candidate.version)
                steward.snapshot_taken(candidate.version, waiting)
        steward.restore(
            self.store.manifest(name, live.snapshot)["steward"], frozen=live.published.frozen
        )
        return steward

    def _configure_step_size(self, live: LiveModel) -> None:
        """A step size that was changed in the configuration is an event."""
        order = Order(values={"step_size": live.spec.step_size})
        verb = Verb(
            live.name, "step_size", self.clock(), "configuration", "apical.toml changed", order
        )
        self._writer.post(verb)
        verb.future.result()

    # What the API calls

    @property
    def limits(self) -> Limits:
        return self.configuration.limits

    def held(self, model: str) -> set[int]:
        """Versions that gate and guard still need."""
        steward = self._stewards.get(model)
        return steward.held() if steward is not None else set()

    @property
    def naming(self) -> AbstractContextManager[object]:
        """Held while snapshots are deleted, so that no event comes to name one of them."""
        return self._snapshotting.naming

    @property
    def failing(self) -> str | None:
        """Why the log cannot be written now; None when it can."""
        return self._writer.failing

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
        self.known_snapshot(model, version, staged=True)
        return self.store.manifest(model, version)

    def post(self, work: Posted | LateLabels) -> Future[bytes]:
        """Queue what must be durable before it is answered; raises Overloaded, Unavailable."""
        self._post(work)
        return work.future

    def order(self, work: Verb | TakeSnapshot | Swap) -> Future[dict[str, Any]]:
        """Queue a verb; the future resolves when its event is durable and its effect visible."""
        if isinstance(work, Verb):
            # A rebase must come to its end even if its base is damaged, and set aside by now.
            if work.snapshot is not None and work.kind != "rebase_cancel":
                self.known_snapshot(work.model, work.snapshot)
            self._snapshotting.publisher.check(work.model)
        self._post(work)
        return work.future

    def known_snapshot(self, model: str, version: int, *, staged: bool = False) -> None:
        """Raises UnknownSnapshot, saying which there are; and Refused for a staged one, unless
        ``staged`` allows it."""
        known = self.store.versions(model)
        if (
            not staged
            and version in known
            and self.store.manifest(model, version)["cause"] == STAGED
        ):
            raise Refused(
                f"model {model!r}: snapshot {version} is what a rebase made ahead of its event; "
                "the snapshot that the rebase published has the same state"
            )
        if version not in known:
            shown = f"{known[0]}..{known[-1]}" if known else "none"
            raise UnknownSnapshot(
                f"model {model!r}: expected a snapshot among {shown} ({len(known)} kept), "
                f"found {version}"
            )

    def refresh_metrics(self) -> None:
        """Bring the gauges that are read, not counted, up to date; called before a scrape."""
        metrics, storage = self.metrics, self.configuration.storage
        metrics.ready.set(self.not_ready is None)
        metrics.queue_depth.set(self._writer.depth)
        metrics.log_bytes.set(self.events.size())
        for volume, place in (("log", storage.log), ("store", storage.store)):
            if not place.startswith("s3://"):
                disk = shutil.disk_usage(place)
                metrics.disk_free_ratio.labels(volume).set(disk.free / disk.total)
        self.watcher.measure()
        for live in self.models.values():
            describe.measure(live, self.store, metrics)
            self._stewards[live.name].measure()
            metrics.snapshot_events.labels(live.name).set(self._snapshotting.since(live))

    def _post(self, work: Work) -> None:
        if self._closing:
            raise Unavailable("shutting down")
        if self.lost:
            raise Unavailable(f"the store is another learner's by now: {self.lost}")
        self._writer.post(work)

    # The writer's duties, on its thread

    def alone(self, work: TakeSnapshot | Swap) -> None:
        """A snapshot on demand, or a rebase that takes the live state's place."""
        if isinstance(work, TakeSnapshot):
            self._snapshotting.on_demand(self.models[work.model], work)
        else:
            self._swap(work)

    def finish(self, work: Work, taken: Taken) -> None:
        """Count and answer what has just become durable and visible."""
        live, metrics = self.models[work.model], self.metrics
        if taken.scored is not None:
            live.prequential.observe(*taken.scored)
            self._lower_step_size(live, len(taken.scored[0]))
            if taken.learned_rows:
                self._snapshotting.learned(live)
        if isinstance(work, Verb):
            self._carry_out(live, work, taken)
            return
        assert isinstance(work, Posted | LateLabels)
        if taken.outcome != "predicted":
            metrics.updates.labels(live.name, taken.outcome).inc()
        metrics.rows.labels(live.name, "learned").inc(taken.learned_rows)
        if taken.outcome == "frozen" and taken.scored is not None:
            metrics.rows.labels(live.name, "frozen").inc(len(taken.scored[0]))
        if taken.delay_s is not None:
            metrics.label_delay_seconds.labels(live.name).observe(taken.delay_s)
        self._show_watcher(live, work, taken)
        work.future.set_result(taken.answer)

    def oversee(self, group: Group) -> None:
        """Let gate and guard see what was learned; what they decide is done before anything else
        is learned."""
        while not self._notices.empty():
            self._notices.get()()
        for _, taken in group:
            if taken.record is None or taken.lesson is None:
                continue
            name = taken.record.model
            try:
                self._decided.extend(self._stewards[name].observe(taken.record.seq, taken.lesson))
            # What watches over the learning must not be able to end it.
            except Exception as error:
                log.error("gate or guard failed", model=name, error=str(error), exc_info=True)
        while self._decided and not self.failing:
            verb = dataclasses.replace(self._decided[0], received_at=self.clock(), future=Future())
            verb.future.set_running_or_notify_cancel()
            self._writer.do(verb)
            if self.failing:
                # What was decided stands, and is done once the log can be written again.
                return
            self._decided.popleft()

    def idle(self) -> None:
        """Between two groups: ask for the snapshots that are due."""
        self._snapshotting.by_cadence(list(self.models.values()))

    def died(self, error: BaseException) -> None:
        """Nobody will be answered any more: end the process."""
        self.on_fatal(error)

    def _carry_out(self, live: LiveModel, work: Verb, taken: Taken) -> None:
        """What a committed verb does beyond the weights; its caller is answered after that."""
        assert taken.record is not None
        log.info(
            work.kind,
            model=live.name,
            seq=live.published.seq,
            actor=work.actor,
            reason=work.reason,
            snapshot=work.snapshot,
        )
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
            manifest, champion, _ = done.result()
            made = {} if manifest is None else {"published": manifest["version"]}
            now = {"champion": champion.version, "pinned": champion.pinned} if champion else {}
            work.future.set_result({**taken.answer, **made, **now})

        self._snapshotting.carry_out(live, taken.record, answer)

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
            staged = self._snapshotting.stage(live, work, state)
        # It belongs to the rebase; the live learner goes on as it was.
        except Exception as error:
            log.error("rebase failed", model=live.name, error=str(error), exc_info=True)
            work.future.set_exception(error)
            if isinstance(error, ClaimLost):
                self._claim_lost(error)
            return
        order = Order(values=work.values())
        self._writer.do(
            Verb(
                live.name,
                "rebase",
                self.clock(),
                work.actor,
                work.reason,
                order,
                staged,
                work.future,
            )
        )

    # What the publisher did

    def _extras(self, model: str) -> dict[str, Any]:
        """What a manifest says of gate, guard and drift."""
        steward = self._stewards.get(model)
        return {
            "drift_reference": self.watcher.reference(model),
            "steward": steward.to_dict() if steward is not None else None,
        }

    def _notice(self, job: Job, done: Done) -> None:
        """Hand what was published over to the writer's thread."""
        self._notices.put(functools.partial(self._published, job, done))

    def _published(self, job: Job, done: Done) -> None:
        """Tell gate and guard what the publisher did."""
        name, verb = job.live.name, job.verb
        steward = self._stewards[name]
        if done.crown is not None and done.champion is not None:
            steward.crowned(
                done.champion.version,
                done.crown,
                seq=done.champion.seq,
                pinned=done.champion.pinned,
                replaced=verb is not None and verb.kind in REPLACING,
            )
            if verb is not None and verb.kind == "rollback" and done.manifest is not None:
                self.watcher.restart(name, done.manifest["drift_reference"])
        elif verb is None and job.shot is not None and done.manifest is not None:
            steward.snapshot_taken(done.manifest["version"], job.shot.state)

    def _claim_lost(self, error: ClaimLost) -> None:
        """Another learner has the store; going on would acknowledge what it never sees."""
        self.lost = str(error)
        self.on_fatal(error)

    # Drift

    def _show_watcher(self, live: LiveModel, work: Posted | LateLabels, taken: Taken) -> None:
        if isinstance(work, Posted) and taken.probabilities is not None:
            loss = losses(work.labels, taken.probabilities)
            self.watcher.see(live.name, work.readings.raw, taken.probabilities, loss)
        elif taken.scored is not None and taken.record is not None:
            # Late labels: their rows were watched when they came.
            labels, probabilities = taken.scored
            nothing = np.zeros((0, len(live.schema.sensors)), np.float32)
            self.watcher.see(live.name, nothing, probabilities[:0], losses(labels, probabilities))

    def _drifted(self, model: str, alarm: Alarm) -> None:
        """Do what is configured for a drift alarm; on the watcher's thread."""
        drift, live = self.configuration.drift, self.models[model]
        try:
            if drift.action == "snapshot":
                self.order(TakeSnapshot(model, "drift", reason=alarm.sentence))
            elif drift.action == "raise_step_size" and live.raised_rows == 0:
                # Set first: once the event is queued the writer may count at any moment.
                live.raised_rows = drift.raised_rows
                raised = live.spec.step_size * drift.raise_factor
                self._order_step_size(live, raised, f"drift: {alarm.sentence}")
        # The line comes first: a full queue drops the reaction, not the line's request.
        except Overloaded as error:
            live.raised_rows = 0
            log.warning("no reaction to drift", model=model, error=str(error))

    def _lower_step_size(self, live: LiveModel, rows: int) -> None:
        """Count down the labelled rows for which drift has raised the step size; then, as long as
        it takes, order the configured one."""
        if self.configuration.drift.action != "raise_step_size":
            return
        live.raised_rows = max(0, live.raised_rows - rows)
        if live.raised_rows or live.published.step_size == live.spec.step_size:
            return
        if live.lowering is None or live.lowering.done():
            with contextlib.suppress(Overloaded):
                live.lowering = self._order_step_size(
                    live, live.spec.step_size, "the rows after a drift are over"
                )

    def _order_step_size(
        self, live: LiveModel, value: float, reason: str
    ) -> Future[dict[str, Any]]:
        seq = live.published.seq
        order = automatic((seq, seq), step_size=value)
        verb = Verb(live.name, "step_size", self.clock(), "drift", reason, order)
        self._post(verb)
        return verb.future
