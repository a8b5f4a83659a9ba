"""One live model: how requests become events, and events the next state.

Only the writer thread calls `take`; it changes nothing but the private state, which `publish` makes
visible after the commit and `discard` takes back when the commit failed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from model_store.log.log import Batch, Record
from service.answers import AnsweredBy, Question, batch_answer, joined, parted
from service.config.model import Model
from service.errors import Fault, InvalidRequest, NotFinite
from service.evaluation.prequential import Prequential
from service.history.alarms import Alarms
from service.history.lessons import Lesson
from service.history.remembered import Outcomes, Remembered, label_key
from service.kernels.kernel import Kernel
from service.learner import verbs
from service.learner.labels import Ruling, aside, held_by, of_batch
from service.learner.linetime import LineTime
from service.learner.requests import LateLabels, Posted, Prepared
from service.learner.specification import schema_of
from service.learner.taken import Lessoned, Taken
from service.rows import UNKNOWN, Labels, Probabilities, Rows
from service.state import Reply, State, finite

RECENT_ROWS = 16
"""Rows kept in memory to become golden rows of the next snapshot."""

Recall = Callable[[str, str], Batch | None]
"""(model, batch_id) → what is remembered, the group being processed included."""


class LiveModel:
    """A learner's model: the private state, the published one, and its prequential score.

    Parameters
    ----------
    spec
        Its part of the configuration.
    kernel
        Runs the rule.
    state
        Where it starts, recovered or newborn.
    prequential
        The score so far.
    horizon_s
        How long a ``batch_id`` is remembered, in seconds of ``line_time``.
    """

    def __init__(
        self,
        spec: Model,
        kernel: Kernel,
        state: State,
        prequential: Prequential,
        snapshot: int,
        horizon_s: float,
        line_time: LineTime,
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.schema = schema_of(spec)
        self.prequential = prequential
        self.kernel = kernel
        self.published = self._state = state
        self.alarms = Alarms()
        self.snapshot = snapshot
        self.configured_step_size = state.step_size
        """What the configuration file set last."""
        self.raised_rows = 0
        """Labelled rows for which drift keeps the step size raised."""
        self.last: tuple[State, Lesson] | None = None
        """What was learned last, and from which state."""
        self.recent: Rows = np.zeros((0, len(spec.features)), np.float32)
        """The latest labelled rows, to be golden rows."""
        self.between: Callable[[], None] = lambda: None
        self._last: tuple[State, Lesson] | None = None
        self._recent = self.recent
        self.horizon_s = horizon_s
        self._line_time = line_time

    def publish(self) -> None:
        """Readers see the private state from now on: one assignment, of what is never written."""
        self.published = self._state
        self.last, self.recent = self._last, self._recent

    def discard(self) -> None:
        """Back to what is durable."""
        self._state = self.published
        self._last, self._recent = self.last, self.recent

    def predict(self, asked: Sequence[Question]) -> tuple[list[bytes], Rows, Probabilities]:
        """Answer from the published state, each by itself (see `service.api.turn`); any thread."""
        (_, raw), state = joined(asked), self.published
        said = np.concatenate([self._forward(state, q.readings.rows) for q in asked])
        told = [
            self._answer(state, p, [False] * len(p), q.batch_id) for q, p in parted(asked, said)
        ]
        return told, raw, said

    def take(self, work: Posted | LateLabels | Prepared, now: float, recall: Recall) -> Taken:
        """Turn a request into what is to be committed; ``now`` is when a verb was given.

        Raises
        ------
        Contradiction
            The ``batch_id`` is known with other rows.
        InvalidRequest
            The labels do not fit the batch.
        Refused
            The verb makes no sense now.
        """
        before = self._state, self._last, self._recent
        try:
            match work:
                case Posted():
                    return self._posted(work, recall)
                case LateLabels():
                    return self._late(work, recall)
                case Prepared():
                    verbs.check(work.order, self._state, self.alarms)
                    self._state, taken = verbs.take(self.kernel, self._state, work, now)
                    return taken
        except BaseException:
            # Whatever failed after the step: there will be no event, so there was no step.
            self._state, self._last, self._recent = before
            raise

    def _posted(self, work: Posted, recall: Recall) -> Taken:
        rows, labels = work.readings.rows, work.labels
        if work.batch_id is not None:
            known = self._recall(work.batch_id, recall)
            if known is not None:
                return self._again(work, known)
        before = self._state
        if labels is None:
            probabilities = self._forward(before, rows)
            learned, lesson, kind = [False] * len(rows), None, "predicted"
        else:
            lesson = Lesson(rows, labels, None, aside(before, work.line), work.trace)
            reply, taught = self._learn(lesson)
            probabilities = reply.probabilities
            if taught is None:
                return self._refused(work, probabilities, labels)
            learned, kind = taught, held_by(before, lesson) or "applied"
        said = None if labels is None else of_batch(labels, learned, kind)
        answer = self._answer(before, probabilities, learned, work.batch_id, said)
        batch = None
        if work.batch_id is not None:
            filled = np.full(len(rows), UNKNOWN, np.int64) if labels is None else labels
            replies: dict[str, bytes | Outcomes] = {}
            if labels is not None:
                replies[label_key(labels, "batch")] = answer
            batch = self._remember(work, before.seq, rows, filled, answer, replies).to_batch()
        if lesson is None or labels is None:
            return Taken(answer, batch=batch, probabilities=probabilities)
        record = self._record("batch", work.received_at, lesson, answer, work)
        scored = lesson.scored(probabilities)
        shown = Lessoned(rows, lesson.taught, reply, work.line or "")
        return Taken(answer, record, batch, scored, sum(learned), kind, shown, None, probabilities)

    def _refused(self, work: Posted, probabilities: Probabilities, labels: Labels) -> Taken:
        """A batch whose step would not be finite: answered, and remembered as one without labels,
        so that these can be sent once more."""
        before, nothing = self._state, [False] * len(labels)
        said = of_batch(labels, nothing, "not_finite")
        answer = self._answer(before, probabilities, nothing, work.batch_id, said)
        batch = None
        if work.batch_id is not None:
            rows, blank = work.readings.rows, np.full(len(labels), UNKNOWN, np.int64)
            then = self._answer(before, probabilities, nothing, work.batch_id)
            batch = self._remember(work, before.seq, rows, blank, then, {}).to_batch()
        return Taken(answer, batch=batch, outcome="not_finite", probabilities=probabilities)

    def _again(self, work: Posted, known: Remembered) -> Taken:
        """A batch_id that was seen before, perhaps with labels that are new."""
        known.same_rows(work.readings.rows)
        then = known.then
        if then is None:
            # Only labels came before, with these rows: this is the first question about them.
            rows = known.rows
            probabilities = self._forward(self._state, rows)
            then = self._answer(self._state, probabilities, [False] * len(rows), work.batch_id)
            known = replace(known, then=then)
            if work.labels is None:
                return Taken(then, batch=known.to_batch())
        if work.labels is None:
            return Taken(then, outcome="duplicate")
        key = label_key(work.labels, "batch")
        if key in known.replies:
            return Taken(known.reply(key), outcome="duplicate")
        return self._label(known, work, work.labels, key, whole=True)

    def _late(self, work: LateLabels, recall: Recall) -> Taken:
        known = self._recall(work.batch_id, recall, expired=True)
        oldest = self._line_time.now() - self.horizon_s
        # The line's own clock tells when it observed; ours may have been set forward since.
        observable = min(oldest, work.received_at - self.horizon_s)
        if known is None and work.rows is None:
            return self._unlearned(work, work.labels, "unknown")
        if (known is not None and known.received_at < oldest) or (
            known is None and work.observed_at is not None and work.observed_at < observable
        ):
            return self._unlearned(work, work.labels, "too_late")
        key = label_key(work.labels, "relabel" if work.relabel else "late")
        if known is None:
            assert work.rows is not None
            blank = np.full(len(work.rows), UNKNOWN, np.int64)
            known = self._remember(work, self._state.seq, work.rows, blank, None, {})
        elif work.rows is not None:
            known.same_rows(work.rows)
        if len(work.labels) != len(known.rows):
            raise InvalidRequest(
                Fault(
                    "labels",
                    f"{len(known.rows)} labels, one per row of batch {work.batch_id!r}",
                    f"{len(work.labels)}",
                )
            )
        if key in known.replies:
            return Taken(known.reply(key), outcome="duplicate")
        return self._label(known, work, work.labels, key)

    def _label(
        self,
        known: Remembered,
        work: Posted | LateLabels,
        labels: Labels,
        key: str,
        whole: bool = False,
    ) -> Taken:
        """Labels for a batch that is known: teach what is new, say of each row what became of it.

        ``whole`` answers with the predictions made then, as a batch request expects.
        """
        relabel = isinstance(work, LateLabels) and work.relabel
        ruling = Ruling.of(known.labels, labels, relabel)
        teach = ruling.teach
        before = self._state
        learned = np.zeros(len(labels), bool)
        record = scored = taught_now = None
        held = "frozen"
        if teach.any():
            earlier = known.earlier()
            then = None if earlier is None else earlier[teach]
            about = aside(before, known.line), work.trace, known.arrived
            lesson = Lesson(np.ascontiguousarray(known.rows[teach]), labels[teach], then, *about)
            reply, taught = self._learn(lesson)
            if taught is None:
                return self._unlearned(known, labels, "not_finite", whole)
            learned[teach] = taught
            scored = lesson.scored(reply.probabilities)
            taught_now = Lessoned(lesson.rows, lesson.taught, reply, known.line or "")
            held = held_by(before, lesson) or held
        outcomes = ruling.outcomes(learned, held)
        said = Outcomes.of(before.seq, self.snapshot, outcomes)
        answer = said.answer(self.name, known.batch_id)
        if whole:
            answer = known.answered(learned.tolist(), outcomes) or answer
        if teach.any():
            record = self._record("late", work.received_at, lesson, answer, known)
        merged = np.where(teach, labels, known.labels)
        batch = known.with_labels(
            merged, key, answer if whole else said, forget=relabel and bool(ruling.other.any())
        ).to_batch()
        outcome = "late" if learned.any() else held if teach.any() else "refused"
        delay = max(0.0, self._line_time.now() - known.received_at) if teach.any() else None
        return Taken(answer, record, batch, scored, int(learned.sum()), outcome, taught_now, delay)

    def _unlearned(
        self, of: LateLabels | Remembered, labels: Labels, why: str, whole: bool = False
    ) -> Taken:
        outcomes = ["unlabelled" if label == UNKNOWN else why for label in labels]
        said = Outcomes.of(self._state.seq, self.snapshot, outcomes)
        answer = said.answer(self.name, of.batch_id)
        if whole and isinstance(of, Remembered):
            answer = of.answered([False] * len(labels), outcomes) or answer
        return Taken(answer, outcome=why if why == "not_finite" else "refused")

    def _forward(self, state: State, rows: Rows) -> Probabilities:
        probabilities = self.kernel.forward(state, rows)
        if np.count_nonzero(np.isfinite(probabilities)) != probabilities.size:
            raise NotFinite(
                f"{self.name}: expected finite probabilities, found others at event {state.seq}; "
                "roll back to a snapshot"
            )
        return probabilities

    def _learn(self, lesson: Lesson) -> tuple[Reply, list[bool] | None]:
        """The reply and the rows learned; None, and nothing happened, if a step is not finite."""
        after, reply = self.kernel.apply(before := self._state, lesson.event(), self.between)
        assert reply is not None
        if not (np.isfinite(reply.probabilities).all() and (before.frozen or finite(after))):
            return reply._replace(probabilities=self._forward(before, lesson.rows)), None
        self._state = after
        self._recent = lesson.rows[-RECENT_ROWS:]
        if reply.learned.any():
            self._last = before, lesson
        return reply, reply.learned.tolist()

    def _recall(self, batch_id: str, recall: Recall, *, expired: bool = False) -> Remembered | None:
        batch = recall(self.name, batch_id)
        if batch is None or (
            not expired and batch.received_at < self._line_time.now() - self.horizon_s
        ):
            return None
        return Remembered.from_batch(batch, len(self.schema.sensors))

    def _remember(
        self,
        work: Posted | LateLabels,
        seq: int,
        rows: Rows,
        labels: Labels,
        then: bytes | None,
        replies: dict[str, bytes | Outcomes],
    ) -> Remembered:
        assert work.batch_id is not None
        key, at = work.batch_id, self._line_time.now()
        about = work.line, work.observed_at, work.received_at
        return Remembered(self.name, key, at, seq, rows, labels, then, replies, *about)

    def _record(
        self,
        kind: str,
        received_at: float,
        lesson: Lesson,
        answer: bytes,
        of: Posted | Remembered,
    ) -> Record:
        seq, payload = self._state.seq, lesson.to_bytes()
        about = of.batch_id, of.line, of.observed_at
        return Record(self.name, seq, kind, received_at, payload, answer, *about)

    def _answer(
        self,
        state: State,
        probabilities: Probabilities,
        learned: list[bool],
        batch_id: str | None,
        outcomes: list[str] | None = None,
    ) -> bytes:
        by, classes = AnsweredBy("learner", state.seq, self.snapshot), self.schema.classes
        return batch_answer(self.name, classes, probabilities, learned, by, batch_id, outcomes)
