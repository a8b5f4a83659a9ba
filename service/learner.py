"""The learner: one writer thread that makes events durable before they are acknowledged.

    drain a group → apply each event to private states → one commit → publish → answer

Reads never wait: they are answered from the published state, which is one immutable value.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

import structlog
import torch

from model_store import failpoints
from model_store.errors import LogError, StorageError
from model_store.log import Batch, EventLog
from model_store.log import Event as Record
from model_store.snapshots import SnapshotStore
from service.config import Configuration, Limits
from service.errors import ApicalError, Overloaded, Unavailable, UnknownModel, UnknownSnapshot
from service.live import LiveModel, Taken
from service.metrics import Metrics
from service.publisher import CHAMPION, Job, Publisher
from service.recovery import recover
from service.schema import Readings
from service.work import LateLabels, Order, Posted, TakeSnapshot, Verb, Work

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
    """

    role = "learner"

    def __init__(
        self,
        configuration: Configuration,
        store: SnapshotStore,
        events: EventLog,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.configuration = configuration
        self.store = store
        self.events = events
        self.metrics = metrics
        self.clock = clock
        self.models: dict[str, LiveModel] = {}
        self.failing: str | None = None
        self._ready = False
        self._closing = False
        self._queue: queue.Queue[tuple[float, Work] | None] = queue.Queue(
            configuration.limits.queued_events
        )
        self._writer = threading.Thread(target=self._run, name="writer")
        self._publisher = Publisher(store, self._snapshot_published, self._snapshot_failed)
        self._due: dict[str, _Cadence] = {}

    # Start and stop

    def start(
        self, progress: Callable[[str, int, int], None] = lambda model, done, total: None
    ) -> None:
        """Recover every model, then take requests.

        Raises
        ------
        ConfigurationError
            The configuration does not fit what is stored.
        StorageError
            Log or store cannot be trusted.
        """
        torch.set_num_threads(1)
        horizon_s = self.configuration.limits.idempotency_days * 86400
        orders: list[Verb] = []
        for spec in self.configuration.models:

            def tell(done: int, total: int, model: str = spec.name) -> None:
                progress(model, done, total)

            found = recover(spec, self.store, self.events, tell)
            live = LiveModel(spec, found.state, found.prequential, found.snapshot or 0, horizon_s)
            self.models[spec.name] = live
            for record, state in found.unpublished:
                # Its event was committed, its snapshot never published: the event decides.
                self._publisher.publish(
                    self._job(
                        live,
                        record.kind,
                        state=state,
                        actor=record.actor or "",
                        event=record.seq,
                        reason=record.reason or "",
                        parent=record.snapshot,
                        crown=True,
                    )
                )
            if found.snapshot is None:
                self._publisher.publish(self._job(live, "birth"))
            saved = self.store.manifest(spec.name, live.snapshot)["seq"]
            self._due[spec.name] = _Cadence(saved, self.clock())
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
        self._publisher.start()
        self._writer.start()
        for order in orders:
            self._enqueue(order)
            order.future.result()
        self._ready = True

    def close(self) -> None:
        """Answer what is queued, take a last snapshot of what has changed, close log and store."""
        self._ready = False
        self._closing = True
        if self._writer.is_alive():
            self._queue.put(None)
            self._writer.join()
            for live in self.models.values():
                if live.published.seq > self._due[live.name].seq:
                    self._publisher.submit(self._job(live, "shutdown"))
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
        return self.model(model).predict(readings.rows)

    def describe(self, model: str) -> dict[str, Any]:
        """What `GET /v1/models/{model}` says."""
        live = self.model(model)
        state = live.published
        learning = asdict(state.configuration)
        # The ranges stand with their sensors, the current step size beside the state.
        del learning["ranges"], learning["step_size"]
        champion = self.store.alias(model, CHAMPION)
        return {
            "model": model,
            "role": self.role,
            **live.schema.to_json(),
            "seq": state.seq,
            "updates": state.steps,
            "frozen": state.frozen,
            "step_size": state.step_size,
            "snapshot": live.snapshot,
            "champion": champion.version if champion else None,
            "prequential": live.prequential.summary(),
            "learning": learning,
        }

    def snapshots(self, model: str) -> list[dict[str, Any]]:
        """Outlines of all finished snapshots, oldest first."""
        return [self.outline(self.store.manifest(model, v)) for v in self.store.versions(model)]

    def snapshot(self, model: str, version: int) -> dict[str, Any]:
        """One manifest; raises UnknownSnapshot."""
        self._known_snapshot(model, version)
        return self.store.manifest(model, version)

    @staticmethod
    def outline(manifest: dict[str, Any]) -> dict[str, Any]:
        """What a list needs of a manifest."""
        score = manifest["prequential"]["window"]
        return {
            key: manifest[key]
            for key in (
                "model",
                "version",
                "parent",
                "seq",
                "updates",
                "created_at",
                "cause",
                "reason",
                "frozen",
            )
        } | {
            "accuracy": score["accuracy"],
            "macro_f1": score["macro_f1"],
            "log_loss": score["log_loss"],
        }

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

    def order(self, work: Verb | TakeSnapshot) -> Future[dict[str, Any]]:
        """Queue a verb; the future resolves when its event is durable and its effect visible."""
        if isinstance(work, Verb) and work.snapshot is not None:
            self._known_snapshot(work.model, work.snapshot)
        self._enqueue(work)
        return work.future

    def _known_snapshot(self, model: str, version: int) -> None:
        known = self.store.versions(model)
        if version not in known:
            shown = f"{known[0]}..{known[-1]}" if known else "none"
            raise UnknownSnapshot(
                f"model {model!r}: expected a snapshot among {shown} ({len(known)} kept), "
                f"found {version}"
            )

    def refresh_metrics(self) -> None:
        """Bring the gauges that are read, not counted, up to date; called before a scrape."""
        metrics = self.metrics
        metrics.ready.set(self.not_ready is None)
        metrics.queue_depth.set(self._queue.qsize())
        for live in self.models.values():
            name, state = live.name, live.published
            for span, figures in live.prequential.summary().items():
                if figures["rows"] == 0:
                    continue
                for score in ("accuracy", "macro_f1", "log_loss"):
                    metrics.score.labels(name, score, span).set(figures[score])
                for label, value in zip(live.schema.classes, figures["f1"], strict=True):
                    if value is not None:
                        metrics.class_f1.labels(name, label, span).set(value)
            metrics.durable_seq.labels(name).set(state.seq)
            metrics.snapshot_events.labels(name).set(state.seq - self._due[name].seq)
            metrics.snapshot_version.labels(name).set(live.snapshot)
            metrics.frozen.labels(name).set(state.frozen)
            metrics.step_size.labels(name).set(state.step_size)
            synapses = state.synapses
            for layer, weight in enumerate(synapses.weights, 1):
                metrics.weight_norm.labels(name, str(layer)).set(float(weight.norm()))
            for layer, theta in enumerate(synapses.feedback, 2):
                cosine = torch.cosine_similarity(
                    synapses.weights[layer - 1].flatten(), theta.flatten(), dim=0
                )
                metrics.feedback_alignment.labels(name, str(layer)).set(float(cosine))

    # The writer

    def _enqueue(self, work: Work) -> None:
        if self._closing:
            raise Unavailable("shutting down")
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
                if isinstance(work, TakeSnapshot):
                    # Everything before it must be durable first, and nothing after it in it.
                    self._settle(group, fresh)
                    group, fresh = [], {}
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
            if self.failing and not group:
                self._probe()
            self._snapshot_by_cadence()

    def _take(
        self, work: Posted | LateLabels | Verb, fresh: dict[tuple[str, str], Batch]
    ) -> Taken | None:
        def recall(model: str, batch_id: str) -> Batch | None:
            return fresh.get((model, batch_id)) or self.events.batch(model, batch_id)

        started = time.perf_counter()
        try:
            taken = self.models[work.model].take(work, recall, self._publisher.load)
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

    def _finish(self, work: Work, taken: Taken) -> None:
        live, metrics = self.models[work.model], self.metrics
        if taken.scored is not None:
            live.prequential.observe(*taken.scored)
            self._due[live.name].updates += bool(taken.learned_rows)
        if isinstance(work, Verb):
            log.info(
                work.kind,
                model=live.name,
                seq=live.published.seq,
                actor=work.actor,
                reason=work.reason,
                snapshot=work.snapshot,
            )
            if work.kind == "rollback":
                self._crown(live, work)
                return
            work.future.set_result(taken.answer)
            return
        assert not isinstance(work, TakeSnapshot)
        if taken.outcome != "predicted":
            metrics.updates.labels(live.name, taken.outcome).inc()
        metrics.rows.labels(live.name, "learned").inc(taken.learned_rows)
        work.future.set_result(taken.answer)

    def _crown(self, live: LiveModel, work: Verb) -> None:
        """Publish the state after a rollback and make it champion; then answer."""
        state = live.published
        job = self._job(
            live,
            work.kind,
            actor=work.actor,
            reason=work.reason,
            event=state.seq,
            parent=work.snapshot,
            crown=True,
        )

        def answer(done: Future[dict[str, Any]]) -> None:
            error = done.exception()
            if error is not None:
                work.future.set_exception(error)
            else:
                work.future.set_result(
                    {
                        "model": live.name,
                        "verb": work.kind,
                        "seq": state.seq,
                        "snapshot": done.result()["version"],
                        "restored": work.snapshot,
                        "frozen": state.frozen,
                        "actor": work.actor,
                        "reason": work.reason,
                    }
                )

        job.future.add_done_callback(answer)
        self._due[live.name].submitted(state, self.clock())
        self._publisher.submit(job)

    def _probe(self) -> None:
        """See whether the log can be written again."""
        try:
            self.events.commit([], [])
        except LogError as error:
            self.failing = str(error)
        else:
            self.failing = None
            log.info("commit works again")

    # Snapshots

    def _job(
        self,
        live: LiveModel,
        cause: str,
        *,
        state: Any = None,
        actor: str = "apical",
        reason: str = "",
        event: int | None = None,
        parent: int | None = None,
        crown: bool = False,
    ) -> Job:
        return Job(
            live,
            state or live.published,
            live.prequential.arrays(),
            live.prequential.summary(),
            live.recent,
            cause,
            parent if parent is not None else live.snapshot or None,
            actor,
            reason,
            event,
            crown,
        )

    def _snapshot_on_demand(self, work: TakeSnapshot) -> None:
        live = self.models[work.model]
        due = self._due[work.model]
        if due.seq == live.published.seq and live.snapshot and not due.pending:
            work.future.set_result(self.store.manifest(live.name, live.snapshot))
            return
        job = self._job(live, work.cause, actor=work.actor, reason=work.reason)
        job.future.add_done_callback(lambda done: _copy(done, work.future))
        due.submitted(live.published, self.clock())
        self._publisher.submit(job)

    def _snapshot_by_cadence(self) -> None:
        now = self.clock()
        for live in self.models.values():
            due, spec = self._due[live.name], live.spec
            if due.pending or live.published.seq == due.seq:
                continue
            if due.updates >= spec.snapshot_every_updates or now - due.at >= spec.snapshot_every_s:
                due.submitted(live.published, now)
                self._publisher.submit(self._job(live, "cadence"))

    def _snapshot_published(self, model: str, manifest: dict[str, Any], seconds: float) -> None:
        self._due[model].pending -= 1
        self.metrics.snapshots.labels(model, "published").inc()
        self.metrics.snapshot_seconds.labels(model).observe(seconds)
        self.metrics.snapshot_timestamp.labels(model).set(self.clock())

    def _snapshot_failed(self, model: str, error: Exception) -> None:
        self._due[model].pending -= 1
        self.metrics.snapshots.labels(model, "failed").inc()


class _Cadence:
    """What the next snapshot of a model waits for."""

    def __init__(self, seq: int, now: float) -> None:
        self.seq = seq
        self.at = now
        self.updates = 0
        self.pending = 0

    def submitted(self, state: Any, now: float) -> None:
        self.seq, self.at, self.updates = state.seq, now, 0
        self.pending += 1


def _copy(done: Future[Any], into: Future[Any]) -> None:
    error = done.exception()
    if error is not None:
        into.set_exception(error)
    else:
        into.set_result(done.result())
