"""What is done around the commits: answers, counts, gate and guard, verbs, snapshots.

All of it on the writer's thread, the one owner of what it touches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np
import structlog

from model_store.errors import ClaimLost, StorageError
from service.errors import ApicalError, StagingLate
from service.history.verb import Effects
from service.history.verbs import Order, Promote, SetStepSize
from service.learner.awaiting import Awaiting
from service.learner.cadence import Snapshotting
from service.learner.decisions import Decisions
from service.learner.inbox import Inbox
from service.learner.messages import Decided, Drifted, Message, Outstanding
from service.learner.model import LiveModel
from service.learner.orders import Orders
from service.learner.reactions import Reactions, told
from service.learner.requests import LateLabels, Posted, Prepared, Swap, TakeSnapshot, Waiting
from service.learner.steward import Steward
from service.learner.taken import Lessoned, Taken
from service.learner.writer import Do, Group
from service.metrics.declared import Metrics
from service.publishing.publisher import Done, Failed, Finished
from service.rows import UNKNOWN
from service.watcher import Watcher, losses

log = structlog.get_logger()


class Duties:
    """The writer's duties; see `service.learner.writer.Duties`.

    Parameters
    ----------
    models, stewards
        By name; may grow until the writer starts.
    inbox
        Whose ``lost`` is set here.
    on_fatal
        Called where the process cannot go on.
    """

    def __init__(
        self,
        models: Mapping[str, LiveModel],
        stewards: Mapping[str, Steward],
        inbox: Inbox,
        orders: Orders,
        snapshotting: Snapshotting,
        reactions: Reactions,
        watcher: Watcher,
        metrics: Metrics,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._models = models
        self._stewards = stewards
        self._inbox = inbox
        self._snapshotting = snapshotting
        self._reactions = reactions
        self._watcher = watcher
        self._metrics = metrics
        self._on_fatal = on_fatal
        self._decisions = Decisions(stewards, inbox, orders)
        self._awaiting: dict[str, Awaiting] = {}

    def look_after(self, model: str, awaiting: Awaiting) -> None:
        """Batches of a model that wait for labels; before the writer starts."""
        self._awaiting[model] = awaiting
        metrics = self._metrics
        metrics.unlabelled_batches.labels(model).set_function(awaiting.count)
        metrics.oldest_unlabelled.labels(model).set_function(awaiting.age)

    def steward(self, model: str) -> Steward:
        """Gate and guard of a model."""
        return self._stewards[model]

    def alone(self, waiting: Waiting, do: Do) -> None:
        """A snapshot on demand, or a rebase that takes the live state's place."""
        work = waiting.work
        if isinstance(work, TakeSnapshot):
            self._snapshotting.on_demand(self._models[work.model], work, waiting.future)
        else:
            assert isinstance(work, Swap)
            self._swap(work, waiting.future, do)

    def finish(self, waiting: Waiting, taken: Taken) -> None:
        """Count what has just become durable and visible, and carry it out where it is a verb."""
        work = waiting.work
        live, metrics = self._models[work.model], self._metrics
        if taken.scored is not None:
            line = taken.record.line if taken.record is not None else None
            live.prequential.observe(*taken.scored, line or "")
            live.raised_rows = max(0, live.raised_rows - len(taken.scored[0]))
            if taken.learned_rows:
                self._snapshotting.learned(live, taken.learned_rows)
        if isinstance(work, Prepared):
            self._carry_out(live, work.order, taken, waiting.future)
            return
        assert isinstance(work, Posted | LateLabels)
        if taken.outcome != "predicted":
            metrics.child(metrics.updates, live.name, taken.outcome).inc()
        metrics.child(metrics.rows, live.name, "learned").inc(taken.learned_rows)
        if taken.outcome == "frozen" and taken.scored is not None:
            metrics.rows.labels(live.name, "frozen").inc(len(taken.scored[0]))
        if taken.delay_s is not None:
            metrics.label_delay_seconds.labels(live.name).observe(taken.delay_s)
        if taken.batch is not None:
            self._awaiting[live.name].saw(taken.batch)
        self._show_watcher(live, work, taken)
        if taken.lesson is not None:
            self._count_members(live, taken.lesson)

    def hear(self, message: Message, do: Do) -> None:
        """What the publisher did, the watcher found, or was prepared."""
        match message:
            case Finished():
                self._published(message)
            case Failed(job, error):
                self._snapshotting.failed(self._models[job.model], message)
                if isinstance(error, ClaimLost):
                    self.claim_lost(error)
                job.future.set_exception(error)
            case Drifted(model, alarm):
                live = self._models[model]
                self._decisions.add([told(live, alarm)])
                self._react(live, self._reactions.to(live, alarm))
                self._decisions.pursue(do)
            case Decided():
                self._decisions.prepared(message, do)
            case Outstanding(order):
                self._decisions.add([order])
                self._decisions.pursue(do)

    def oversee(self, group: Group, do: Do) -> None:
        """Let gate and guard see what was learned; what they decide is done before anything else
        is learned, unless it needs something of the store.

        Before a verb, a snapshot or word of the publisher is heard, they have seen all."""
        taught: dict[str, list[tuple[int, Lessoned]]] = {}
        for _, taken in group:
            if taken.record is not None and taken.lesson is not None:
                found = taught.setdefault(taken.record.model, [])
                found.append((taken.record.seq, taken.lesson))
        for name, lessons in taught.items():
            steward = self._stewards[name]
            asked = steward.asked([lesson for _, lesson in lessons])
            for seq, lesson in lessons:
                try:
                    self._decisions.add(steward.observe(seq, lesson, asked))
                # What watches over the learning must not be able to end it.
                except Exception as error:
                    log.error("gate or guard failed", model=name, error=str(error), exc_info=True)
        for name in {waiting.work.model for waiting, _ in group}:
            self._react(self._models[name], self._reactions.due(self._models[name]))
        self._decisions.pursue(do)

    def idle(self) -> None:
        """Between two groups: ask for the snapshots that are due."""
        self._snapshotting.by_cadence(list(self._models.values()))

    def died(self, error: BaseException) -> None:
        """Nobody will be answered any more: end the process."""
        self._on_fatal(error)

    def claim_lost(self, error: ClaimLost) -> None:
        """Another learner has the store; going on would acknowledge what it never sees.

        By any thread."""
        self._inbox.lost = str(error)
        self._on_fatal(error)

    def _react(self, live: LiveModel, work: Order | TakeSnapshot | None) -> None:
        if isinstance(work, TakeSnapshot):
            self._snapshotting.on_demand(live, work)
        elif work is not None and not self._decisions.has(live.name, work.kind):
            self._decisions.add([work])

    def _carry_out(
        self, live: LiveModel, work: Order, taken: Taken, future: Future[dict[str, Any]]
    ) -> None:
        """What a committed verb does beyond the weights; its caller is answered after that."""
        assert taken.record is not None
        live.alarms.heard(work, taken.record.seq, taken.record.received_at)
        log.info(
            work.kind,
            model=live.name,
            seq=live.published.seq,
            actor=work.actor,
            reason=work.reason,
            snapshot=work.verb.named,
            **({"trace": work.evidence["trace"]} if "trace" in work.evidence else {}),
        )
        if work.verb.effects.restarts_guard:
            self._stewards[live.name].thawed()
        match work.verb:
            case Promote() if work.automatic:
                self._stewards[live.name].crowned_seq = taken.record.seq
            case SetStepSize(step_size, raised_rows):
                live.raised_rows = raised_rows
                if not work.automatic:
                    live.configured_step_size = step_size
        self._metrics.verbs.labels(live.name, work.kind, str(work.automatic).lower()).inc()

        def answer(done: Future[Done]) -> None:
            error = done.exception()
            if error is not None:
                future.set_exception(error)
                return
            manifest, champion, _ = done.result()
            made = {} if manifest is None else {"published": manifest.version}
            now = {"champion": champion.version, "pinned": champion.pinned} if champion else {}
            future.set_result({**taken.answer, **made, **now})

        self._snapshotting.carry_out(live, taken.record, answer)

    def _swap(self, work: Swap, future: Future[dict[str, Any]], do: Do) -> None:
        """Let a rebase that has caught up take the live state's place.

        The last events are replayed here, while nothing can be added; then its state is stored,
        and an event names it.
        """
        live = self._models[work.model]
        try:
            state = work.finish(live.published.seq)
            if state is None:
                future.set_result({"model": live.name, "state": "cancelled"})
                return
            staged = self._snapshotting.stage(live, work, state)
        # It comes again once the store is done.
        except StagingLate as error:
            future.set_exception(error)
            return
        # It belongs to the rebase; the live learner goes on as it was.
        except Exception as error:
            expected = isinstance(error, ApicalError | StorageError)
            log.error("rebase failed", model=live.name, error=str(error), exc_info=not expected)
            future.set_exception(error)
            if isinstance(error, ClaimLost):
                self.claim_lost(error)
            return
        order = Order(live.name, work.verb(staged), work.actor, work.reason)
        do(Waiting(Prepared(order, state), future))

    def _published(self, finished: Finished) -> None:
        """Tell cadence, gate and guard what the publisher did; then whoever waits for it."""
        job, done = finished.job, finished.done
        name = job.model
        effects = Order.from_record(job.verb).verb.effects if job.verb is not None else Effects()
        self._snapshotting.finished(self._models[name], finished)
        steward = self._stewards[name]
        if done.crown is not None and done.champion is not None:
            steward.crowned(
                done.champion.version,
                done.crown,
                seq=done.champion.seq,
                pinned=done.champion.pinned,
                replaced=effects.replaces,
            )
            if effects.restores_reference and done.manifest is not None:
                self._watcher.restart(name, done.manifest.drift_reference)
        elif job.verb is None and job.shot is not None and done.manifest is not None:
            steward.snapshot_taken(done.manifest.version, job.shot.state)
        job.future.set_result(done)

    def _count_members(self, live: LiveModel, lesson: Lessoned) -> None:
        members = lesson.reply.members
        if len(members) == 1:
            return
        known = lesson.labels != UNKNOWN
        right = (members.argmax(2) == lesson.labels)[:, known].sum(1)
        for network, hits in zip(live.published.configuration.networks, right, strict=True):
            child, counted = self._metrics.child, self._metrics.member_rows
            child(counted, live.name, network.name, "true").inc(int(hits))
            child(counted, live.name, network.name, "false").inc(int(known.sum() - hits))

    def _show_watcher(self, live: LiveModel, work: Posted | LateLabels, taken: Taken) -> None:
        if isinstance(work, Posted) and taken.probabilities is not None:
            # Of the labels that teach: those of a line in quarantine say nothing of the concept.
            labels = work.labels if taken.lesson is None else taken.lesson.labels
            loss = losses(labels, taken.probabilities)
            self._watcher.see(live.name, work.readings.raw, taken.probabilities, loss)
        elif taken.scored is not None and taken.record is not None:
            # Late labels: their rows were watched when they came.
            labels, probabilities = taken.scored
            nothing = np.zeros((0, len(live.schema.sensors)), np.float32)
            self._watcher.see(live.name, nothing, probabilities[:0], losses(labels, probabilities))
