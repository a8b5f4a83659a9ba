"""The learner: its models, from recovery to the last snapshot, and what the API calls.

Events are made durable by the writer, snapshots taken by the publisher, gate and guard kept by a
steward for each model, drift watched beside it all; here they are put together. Reads never wait:
they are answered from the published state, which is one immutable value.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import structlog

from model_store.errors import StorageError
from model_store.log.log import EventLog
from model_store.snapshots.store import SnapshotStore
from service.answers import Question
from service.config.limits import Limits
from service.config.process import Configuration
from service.errors import Unavailable, UnknownModel
from service.history.verbs import Order
from service.kernels.kernel import Kernel
from service.learner import describe, gauges
from service.learner.awaiting import of_log
from service.learner.cadence import Snapshotting
from service.learner.duties import Duties
from service.learner.inbox import Inbox
from service.learner.linetime import LineTime
from service.learner.messages import Drifted, Outstanding
from service.learner.model import LiveModel
from service.learner.orders import Orders
from service.learner.reactions import Reactions
from service.learner.rebasings import Rebasings
from service.learner.recovery import recover
from service.learner.requests import LateLabels, Posted, TakeSnapshot, Waiting
from service.learner.startup import Startup
from service.learner.steward import Steward
from service.learner.writer import Writer
from service.metrics.declared import Metrics
from service.publishing.publisher import STOP_S, Publisher
from service.watcher import Watcher

log = structlog.get_logger()


class _LeftOff(Exception):
    """The process stops while it recovers."""


FORGOTTEN = 2
"""Horizons after which a batch is deleted; in the second one late labels are told that they come
too late."""


class Learner:
    """All models of a process.

    Parameters
    ----------
    configuration
        What to serve.
    store, events
        Open for writing; closed by `close`.
    kernel
        Runs the rule.
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
        kernel: Kernel,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        progress: Callable[[str, int, int], None] = lambda model, done, total: None,
    ) -> None:
        self.configuration = configuration
        self.store = store
        self.events = events
        self._kernel = kernel
        self.metrics = metrics
        self.clock = clock
        self.models: dict[str, LiveModel] = {}
        self.line_time = LineTime(events.latest_batch(), clock)
        self.on_fatal: Callable[[BaseException], None] = lambda error: None
        self.on_answers: Callable[[], None] = lambda: None
        self._progress = progress
        self._ready = False
        self.closing = False
        self._leaving = threading.Event()
        self._stewards: dict[str, Steward] = {}
        # Each is told where it hands over: the inbox checks with the publisher, which reports to
        # the inbox.
        self._publisher = Publisher(
            store,
            events,
            kernel,
            clock,
            lambda report: self.inbox.tell(report),
            lambda: (
                self.line_time.now() - FORGOTTEN * configuration.limits.idempotency_days * 86400
            ),
        )
        self.inbox = Inbox(configuration.limits.queued_events)
        self.retention = self._publisher.retention
        self._orders = Orders(self.inbox, store, self._publisher.check, self.retention)
        self.watcher = Watcher(
            metrics,
            lambda model, alarm: self.inbox.tell(Drifted(model, alarm)),
            rows_per_false_alarm=configuration.drift.rows_per_false_alarm,
            max_features=configuration.drift.metrics_max_features,
        )
        self._snapshotting = Snapshotting(
            self._publisher, store, kernel, metrics, time.monotonic, self._stewards, self.watcher
        )
        self.duties = Duties(
            self.models,
            self._stewards,
            self.inbox,
            self._orders,
            self._snapshotting,
            Reactions(configuration.drift),
            self.watcher,
            metrics,
            lambda error: self.on_fatal(error),
        )
        store.writing().when_lost(self.duties.claim_lost)
        self.rebasings = Rebasings(kernel, self.models, self.inbox, self._orders, events, store)
        self._writer = Writer(
            self.inbox,
            self.models,
            events,
            metrics,
            configuration.limits,
            self.duties,
            clock,
            lambda: self.on_answers(),
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
        startup = Startup(
            self.configuration,
            self.store,
            self._kernel,
            self._publisher,
            self._snapshotting,
            self._stewards,
            self.watcher,
            self.metrics,
            self.clock,
            self.line_time,
        )
        for spec in self.configuration.models:
            tell = functools.partial(self._tell, spec.name)
            try:
                found = recover(spec, self.store, self.events, self._kernel, tell)
            except _LeftOff:
                log.info("stopped while recovering", model=spec.name)
                return
            live = self.models[spec.name] = startup.revive(found)
            awaiting = of_log(self.events, spec.name, self.line_time.now, live.horizon_s)
            self.duties.look_after(spec.name, awaiting)
            log.info(
                "model ready", model=spec.name, **live.schema.called, seq=found.state.seq,
                snapshot=live.snapshot, replayed=found.replayed,
            )  # fmt: skip
        if self._leaving.is_set():
            return
        self.watcher.start()
        self._publisher.start()
        self._writer.start()
        for order in [o for live in self.models.values() for o in startup.configured(live)]:
            try:
                self._orders.give(order).result()
            # A learner that does not start helps nobody; the next start orders it again.
            except StorageError as error:
                log.error(f"{order.kind} not set", model=order.model, error=str(error))
        for order in startup.outstanding:
            self.inbox.tell(Outstanding(order))
        self._ready = True
        for name in self.models:
            self.rebasings.resume(name)

    def stop(self) -> None:
        """Let a start that is under way leave off; what it replayed is replayed by the next."""
        self._leaving.set()

    def close(self) -> None:
        """Answer what is queued, take a last snapshot of what has changed, close log and store;
        more than once is harmless."""
        self.stop()
        if self.closing:
            return
        self._ready = False
        self.closing = True
        self.rebasings.stop()
        self._orders.close()
        self.watcher.close()
        whole = self._writer.alive
        self._writer.close()
        if whole:
            self._snapshotting.last(self.models.values())
        self._publisher.close()
        # The writer has ended: what the publisher did last is heard here.
        for message in self.inbox.left():
            if not isinstance(message, Waiting):
                self.duties.hear(message, lambda waiting: False)
        self.rebasings.join()
        try:
            self.events.close()
        finally:
            # Letting go of a bucket may take as long as the bucket likes.
            last = threading.Thread(target=self.store.close, name="store", daemon=True)
            last.start()
            last.join(STOP_S)

    # What the API calls

    @property
    def limits(self) -> Limits:
        return self.configuration.limits

    def held(self, model: str) -> set[int]:
        """Versions that gate and guard still need."""
        steward = self._stewards.get(model)
        return steward.held() if steward is not None else set()

    @property
    def failing(self) -> str | None:
        """Why the log cannot be written now; None when it can."""
        return self.inbox.failing

    @property
    def not_ready(self) -> str | None:
        """Why no request may be sent here now; None when ready."""
        if self.closing:
            return "shutting down"
        if not self._ready:
            return "recovering"
        if self.inbox.lost:
            return f"the store is another learner's by now: {self.inbox.lost}"
        if self.failing:
            return f"the event log cannot be written: {self.failing}"
        return None

    def model(self, name: str) -> LiveModel:
        """Raises UnknownModel."""
        if not self._ready and not self.closing:
            raise Unavailable("not ready: recovering")
        try:
            return self.models[name]
        except KeyError:
            raise UnknownModel(name, sorted(self.models)) from None

    def predict(
        self, model: str, questions: Sequence[Question], version: str | None = None
    ) -> list[bytes]:
        """Answer from the published state, without waiting for anything."""
        answers, raw, probabilities = self.model(model).predict(questions)
        self.watcher.see(model, raw, probabilities)
        return answers

    def versions(self, model: str) -> tuple[str, ...]:
        return ("live",)

    def describe(self, model: str) -> dict[str, Any]:
        """What `GET /v1/models/{model}` says."""
        live, publisher = self.model(model), self._publisher
        blocked = publisher.blocked(model)
        return describe.model(live, publisher.champions, blocked, self.status(model))

    def status(self, model: str) -> str:
        return self._stewards[model].status

    def snapshots(self, model: str) -> list[dict[str, Any]]:
        """Outlines of all finished snapshots, oldest first."""
        return describe.snapshots(self.store, model)

    def snapshot(self, model: str, version: int) -> dict[str, Any]:
        """One manifest; raises UnknownSnapshot."""
        self.known_snapshot(model, version, staged=True)
        return self.store.manifest(model, version)

    def post(self, work: Posted | LateLabels) -> Future[bytes]:
        """Queue what must be durable before it is answered; raises Overloaded, Unavailable."""
        return self.inbox.post(work)

    def order(self, order: Order) -> Future[dict[str, Any]]:
        """Give a verb; see `Orders.give`. Waits for nothing."""
        return self._orders.give(order)

    def take_snapshot(self, work: TakeSnapshot) -> Future[dict[str, Any]]:
        """Ask for a snapshot; the future has its manifest. Raises Overloaded, Unavailable."""
        return self.inbox.ask(work)

    def known_snapshot(self, model: str, version: int, *, staged: bool = False) -> None:
        """Raises UnknownSnapshot, and Refused for a staged one; see `Orders.known_snapshot`."""
        self._orders.known_snapshot(model, version, staged=staged)

    def _tell(self, model: str, done: int, total: int) -> None:
        if self._leaving.is_set():
            raise _LeftOff
        self._progress(model, done, total)

    def refresh_metrics(self) -> None:
        """Bring the gauges that are read, not counted, up to date; called before a scrape."""
        metrics = self.metrics
        metrics.ready.set(self.not_ready is None)
        metrics.queue_depth.set(self.inbox.depth)
        metrics.log_bytes.set(self.events.size())
        gauges.disks(self.configuration.storage, metrics)
        self.watcher.measure()
        for live in self.models.values():
            gauges.measure(live, self._publisher.champions.known(live.name), metrics)
            self._stewards[live.name].measure()
            metrics.untrained.labels(live.name).set(self.status(live.name) != "champion")
            blocked = self._publisher.blocked(live.name)
            metrics.verbs_blocked.labels(live.name).set(blocked is not None)
            metrics.snapshot_age.labels(live.name).set(self._snapshotting.age(live))
            metrics.snapshot_events.labels(live.name).set(self._snapshotting.since(live))
