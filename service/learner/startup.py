"""From what was recovered to a live model: what a crash left half done is finished here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import structlog

from model_store.errors import SnapshotDamaged, StorageError, StoreUnavailable
from model_store.snapshots.store import SnapshotStore
from service.answers import UNTRAINED
from service.config.process import Configuration
from service.history.verbs import Freeze, Order, Rollback, SetStepSize, UseKernel
from service.kernels.kernel import Kernel
from service.learner.cadence import Snapshotting
from service.learner.linetime import LineTime
from service.learner.model import LiveModel
from service.learner.recovery import Recovered, Replayed
from service.learner.steward import Steward
from service.manifest import CANDIDATE, manifest_of
from service.metrics.declared import Metrics
from service.publishing.publisher import Job, Publisher
from service.publishing.taking import load_state
from service.watcher import Watcher

log = structlog.get_logger()


class Startup:
    """Makes live models, before the writer runs.

    Parameters
    ----------
    stewards
        Where the gate and guard of each model are put.
    now
        Unix seconds.
    """

    def __init__(
        self,
        configuration: Configuration,
        store: SnapshotStore,
        kernel: Kernel,
        publisher: Publisher,
        snapshotting: Snapshotting,
        stewards: dict[str, Steward],
        watcher: Watcher,
        metrics: Metrics,
        now: Callable[[], float],
        line_time: LineTime,
    ) -> None:
        self._configuration = configuration
        self._store = store
        self._kernel = kernel
        self._publisher = publisher
        self._snapshotting = snapshotting
        self._stewards = stewards
        self._watcher = watcher
        self._metrics = metrics
        self._now = now
        self._line_time = line_time
        self.outstanding: list[Order] = []
        """What a guard decided before a stop, and did not come about."""

    def revive(self, found: Recovered) -> LiveModel:
        """A live model from what was recovered; finish what a crash left half done."""
        spec, name = found.spec, found.spec.name
        horizon_s = self._configuration.limits.idempotency_days * 86400
        live = LiveModel(
            spec,
            self._kernel,
            found.state,
            found.prequential,
            found.snapshot or 0,
            horizon_s,
            self._line_time,
        )
        live.raised_rows = found.raised_rows
        live.configured_step_size = found.configured_step_size
        champions, publisher = self._publisher.champions, self._publisher
        reference = None
        if found.snapshot is not None:
            newest = manifest_of(self._store, name, found.snapshot)
            reference = newest.drift_reference
            live.alarms.restore(newest.alarms)
        for record in (verb.record for verb in found.verbs):
            live.alarms.heard(Order.from_record(record), record.seq, record.received_at)
        rows = self._configuration.drift.reference_rows
        schema = live.schema
        about = schema.ranges, schema.values
        self._watcher.watch(name, schema.names, reference, rows, *about)
        if found.snapshot is None:
            self._perform(
                live, self._snapshotting.job(live, self._snapshotting.shot(live, "birth"))
            )
        left = champions.unfinished(name, [verb.record for verb in found.verbs])
        champions.retrace(name, left)
        for verb in found.verbs:
            if verb.record in left:
                # Its event was committed; what it does beyond the weights may not have come about.
                job = self._snapshotting.verb_job(live, verb.record, verb.state, verb)
                try:
                    self._perform(live, job)
                # The state is right either way; a learner that does not start helps nobody.
                except Exception as error:
                    if isinstance(error, StoreUnavailable):
                        # The next start tries again, if no snapshot buries the verb until then.
                        # What no start can mend, such as damage, must not end all snapshots.
                        publisher.shut(name)
                    log.error(
                        f"{verb.record.kind} of event {verb.record.seq} not carried out",
                        model=name,
                        error=str(error),
                        exc_info=True,
                    )
            order = Order.from_record(verb.record)
            if order.verb.effects.restores_reference and order.verb.named is not None:
                # Behind the newest snapshot, which has the reference of before.
                with contextlib.suppress(StorageError):
                    then = manifest_of(self._store, name, order.verb.named)
                    self._watcher.restart(name, then.drift_reference)
        champions.repair(name, spec.promotion)
        steward = self._stewards[name] = self._install(live)
        self.outstanding += _left_by_the_guard(live, steward, found.verbs)
        manifest = manifest_of(self._store, name, live.snapshot)
        self._snapshotting.add(live, manifest, self._now() - manifest.created_at)
        return live

    def _perform(self, live: LiveModel, job: Job) -> None:
        """Do a job of the publisher's on this thread."""
        done = self._publisher.perform(job)
        if done.manifest is not None:
            live.snapshot = done.manifest.version

    def _install(self, live: LiveModel) -> Steward:
        """Gate and guard, with the champion and the candidate that the aliases name."""
        name = live.name
        steward = Steward(live.spec, self._kernel, self._metrics, live.alarms)
        champions = self._publisher.champions
        champion = champions.now(name)
        while champion is not None:
            try:
                state = load_state(self._store, name, champion.version)
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
            and candidate.version in self._store.versions(name)
        ):
            # A damaged candidate is no candidate; `verify` names it.
            with contextlib.suppress(SnapshotDamaged):
                waiting = load_state(self._store, name, candidate.version)
                steward.snapshot_taken(candidate.version, waiting)
        if steward.status != "champion":
            log.warning("untrained", model=name, message=UNTRAINED)
        steward.restore(
            manifest_of(self._store, name, live.snapshot).steward, frozen=live.published.frozen
        )
        return steward

    def configured(self, live: LiveModel) -> list[Order]:
        """What a changed configuration asks for, as events."""
        name, kernel = live.name, live.spec.kernel
        orders = [self._step_size(live)]
        if live.published.kernel != kernel:
            orders.append(Order(name, UseKernel(kernel), "configuration", "apical.toml changed"))
        return [order for order in orders if order is not None]

    def _step_size(self, live: LiveModel) -> Order | None:
        """What a changed configuration asks for: a step size that the file sets is an event, and
        so is the end of one that drift raised where drift does not do so any more."""
        wanted, name = live.spec.wanted_step_size, live.name
        if live.published.step_size == wanted:
            live.configured_step_size = wanted
            return None
        if wanted != live.configured_step_size:
            return Order(name, SetStepSize(wanted), "configuration", "apical.toml changed")
        if self._configuration.drift.action == "raise_step_size":
            return None
        seq = live.published.seq
        reason = "the configuration does not let drift raise the step size"
        return Order(name, SetStepSize(wanted), "configuration", reason, True, (seq, seq))


def _left_by_the_guard(live: LiveModel, steward: Steward, verbs: list[Replayed]) -> list[Order]:
    """The rollback that a guard orders after its freeze, if a stop came in between: a model that it
    rolled back has another champion, and a guard that starts over."""
    if steward.guard is None or steward.champion is None or steward.champion.untrained:
        return []
    if live.spec.guard != "rollback" or not live.published.frozen:
        return []
    last = Order.from_record(verbs[-1].record) if verbs else None
    froze = last is not None and isinstance(last.verb, Freeze) and last.actor == "guard"
    if not (steward.guard.fired or froze):
        return []
    cause = last.cause if last is not None and froze else None
    reason = "the guard froze the model before a stop, and did not come to its rollback"
    return [Order(live.name, Rollback(steward.champion.version), "guard", reason, True, cause)]
