"""Gate and guard of one live model: frozen networks scored on the same labels as the learner.

What they decide is carried out as events, each with the range of events that caused it; the
decisions themselves are never replayed. Only the writer thread calls in here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.config.model import Model
from service.evaluation.gate import Gate, Verdict
from service.evaluation.guard import Guard
from service.evaluation.lines import Lines
from service.evaluation.mixture import Rates
from service.evaluation.signal import Signal
from service.history.alarms import Alarms
from service.history.verb import Verb
from service.history.verbs import Order, Promote, Reject
from service.kernels.kernel import Kernel
from service.learner.consequences import Consequences
from service.learner.recent import Recent
from service.learner.shadows import WINDOW_ROWS, Asked, Shadow
from service.learner.taken import Lessoned
from service.metrics.declared import Metrics
from service.rows import UNKNOWN
from service.state import State

Status = Literal["untrained", "on probation", "champion"]
"""Of a model: nothing that has learned is champion; its first candidate is being judged; it has
one."""


UNDECIDED = 3
"""Probations in which a verdict waits until no line's labels are doubted: not for ever, since of
many lines there is always one."""


class Decision(NamedTuple):
    """A verdict of the gate whose event is not durable yet.

    ``errors`` has 0 or 1 for each row of the probation: was the candidate wrong?
    """

    order: Order
    candidate: Shadow
    verdict: Verdict
    errors: list[int]


class Steward:
    """Scores champion and candidate, and says what is to be done.

    Parameters
    ----------
    spec
        ``promotion`` and ``guard`` say which of the two are on.
    metrics
        Where verdicts and signals are counted.
    alarms
        Those that are open: what is noticed again is no news.
    """

    def __init__(self, spec: Model, kernel: Kernel, metrics: Metrics, alarms: Alarms) -> None:
        self.spec = spec
        self.champion: Shadow | None = None
        self.pinned = False
        self.crowned_seq = 0
        self.gate = Gate(spec.probation_rows) if spec.promotion == "gate" else None
        self.guard = Guard(spec.guard_rows) if spec.guard != "off" else None
        self.lines = Lines(spec.guard_rows)
        self.verdict: dict[str, Any] | None = None
        self._consequences = Consequences(spec, metrics, alarms)
        self._kernel = kernel
        self._metrics = metrics
        self._candidates: dict[int, Shadow] = {}
        self._pending: Decision | None = None
        self._errors = {
            who: deque[int](maxlen=WINDOW_ROWS) for who in ("learner", "champion", "candidate")
        }
        self._recent = Recent(kernel, spec.values)

    def snapshot_taken(self, version: int, state: State) -> None:
        """A snapshot that no verb asked for: a candidate, where there is a gate."""
        if self.gate is None or self.champion is None:
            return
        self._candidates[version] = Shadow(version, state)
        displaced = self.gate.enter(version)
        if displaced is not None:
            self._candidates.pop(displaced, None)

    def crowned(
        self, version: int, state: State, *, seq: int, pinned: bool, replaced: bool
    ) -> None:
        """Another champion, by event ``seq``; ``replaced`` if the learner's state became its, by
        rollback or rebase. The candidates of a learner that was rolled back are nobody's
        successors. Word of an older event than that of the present champion comes too late.
        """
        if seq < self.crowned_seq:
            return
        self.crowned_seq = seq
        self.pinned = pinned
        if self.champion is not None and self.champion.version == version:
            return
        self.champion = Shadow(version, state)
        self._errors["champion"].clear()
        if self.gate is not None:
            if replaced:
                self._discard()
            else:
                self.gate.champion_changed()
        if replaced:
            self._start_over()
        elif self.guard is not None:
            errors, by_line = self._recent.errors_of(self.champion)
            self.guard.promoted(errors)
            self.lines.promoted(by_line)

    def held(self) -> set[int]:
        """Versions that are still needed; any thread."""
        champion = self.champion
        # A copy made in one step: the writer may be changing the dictionary.
        return {*list(self._candidates), *([champion.version] if champion else [])}

    def thawed(self) -> None:
        """Learning goes on: what the guard knew lies before the break."""
        self._start_over()

    def _start_over(self) -> None:
        if self.guard is not None:
            self.guard.reset()
        self.lines.reset()

    @property
    def status(self) -> Status:
        """How far the model has got."""
        if self.champion is not None and not self.champion.untrained:
            return "champion"
        on_probation = self.gate is not None and self.gate.candidate is not None
        return "on probation" if on_probation else "untrained"

    @property
    def suspicious(self) -> bool:
        """Whether the labels are suspected, all or a line's: the gate holds its verdicts
        meanwhile."""
        return self.guard is not None and (self.guard.suspicious or bool(self.lines.suspects))

    def wants(self, order: Order) -> bool:
        """Whether an order still stands: a promotion does not outlive what came after it."""
        if order.actor != "gate":
            return True
        return self._pending is not None and self._pending.order is order

    def asked(self, lessons: Sequence[Lessoned]) -> Asked:
        """For `observe`, of lessons that are observed one after the other."""
        return Asked(self._kernel, lessons)

    def observe(self, seq: int, lesson: Lessoned, asked: Asked) -> list[Order]:
        """Score one labelled event after it was learned; the orders that follow from it."""
        if self.champion is None or (self.gate is None and self.guard is None):
            return []
        if not (lesson.labels != UNKNOWN).any():
            # A line in quarantine.
            return []
        rows, labels, learner = lesson.rows, lesson.labels, lesson.reply.probabilities
        # What has learned nothing cannot be fallen back to, and what is frozen learns nothing that
        # would have to be stopped.
        watched = not self.champion.untrained and bool(lesson.reply.learned.any())
        champion = asked.of(self.champion, lesson)
        self._score("learner", labels, learner)
        self._score("champion", labels, champion)
        self._recent.add(lesson.line, rows, labels)
        orders: list[Order] = []
        if self.guard is not None and watched:
            said = labels, learner, champion
            doubted = self.lines.suspicious(lesson.line)
            own = self._recent.own_handicap(lesson.line, rows, self.champion, asked=doubted)
            known = partial(self._known, lesson.line, self.lines.rates_of(lesson.line))
            found = self.lines.observe(seq, lesson.line, *said, own)
            novel = self._recent.novel(lesson.line, rows, labels, asked=self.guard.suspicious)
            silence = self._recent.handicap(self.champion)
            signal = self.guard.observe(seq, *said, lesson.line, novel, silence, known)
            if found is not None:
                return [self._set_aside(seq, lesson.line, found)]
            if signal is not None:
                culprit = self.lines.culprit if signal.kind == "guard" else None
                if culprit is not None:
                    return [self._set_aside(seq, culprit, signal)]
                orders += self._alarmed(signal)
                if signal.kind == "guard":
                    return orders
        return orders + self._probation(seq, lesson, champion, asked)

    def _known(self, line: str, before: Rates | None) -> dict[str, Rates]:
        """What is known of each line before the present request, which is of ``line``."""
        found = self.lines.rates(line, before)
        if self.champion is None or not self.lines.several:
            return found
        return self._recent.rates(self.champion, found) | found

    def measure(self) -> None:
        """Set the gauges; called before a scrape."""
        name, metrics = self.spec.name, self._metrics
        for who, errors in self._errors.items():
            if errors:
                metrics.shadow_error.labels(name, who).set(sum(errors) / len(errors))
        if self.gate is not None:
            metrics.probation_rows.labels(name).set(self.gate.rows)
        if self.guard is not None:
            metrics.guard_suspicious.labels(name).set(self.guard.suspicious)

    def to_dict(self) -> dict[str, Any]:
        """What a manifest says of gate and guard, and what `restore` needs."""
        return {
            "status": self.status,
            "champion": self.champion.version if self.champion else None,
            "last_verdict": self.verdict,
            "guard": self.guard.to_dict() if self.guard is not None else None,
            "lines": self.lines.to_dict(),
        }

    def restore(self, saved: dict[str, Any] | None, *, frozen: bool) -> None:
        """Go on where a manifest's guards left off, if the champion is still the same. A guard that
        has fired is silent, so if the model is not ``frozen`` any more, it starts over."""
        if saved is None:
            return
        self.verdict = saved["last_verdict"]
        if (
            self.guard is not None
            and saved["guard"] is not None
            and self.champion is not None
            and saved["champion"] == self.champion.version
        ):
            self.guard.restore(saved["guard"])
            self.lines.restore(saved.get("lines"))
            if self.guard.fired and not frozen:
                self._start_over()

    def _probation(
        self,
        seq: int,
        lesson: Lessoned,
        champion: NDArray[np.float32],
        asked: Asked,
    ) -> list[Order]:
        gate = self.gate
        if gate is None or gate.candidate is None or self.pinned or self._pending is not None:
            return []
        if self.guard is not None and self.guard.fired:
            # Learning has stopped: what is frozen has no successor, until somebody decides.
            return []
        candidate = self._candidates[gate.candidate]
        probabilities = asked.of(candidate, lesson)
        self._score("candidate", lesson.labels, probabilities)
        assert self.champion is not None
        # What the candidate was taught last may be what a line is doubted for.
        undecided = gate.rows < UNDECIDED * gate.probation_rows and self.lines.doubted
        verdict = gate.observe(
            seq,
            lesson.labels,
            champion,
            probabilities,
            hold=self.suspicious or undecided,
            untrained=self.champion.untrained,
        )
        return [] if verdict is None else [self._decided(gate, candidate, verdict)]

    def _decided(self, gate: Gate, candidate: Shadow, verdict: Verdict) -> Order:
        name = self.spec.name
        reason = (
            f"gate: over {verdict.rows} labelled rows p = {verdict.p_value:.3g} "
            f"(candidate {verdict.candidate_score:.4f}, champion "
            f"{verdict.champion_score:.4f}, lower is better)"
        )
        verb: Verb = Reject(candidate.version)
        if verdict.promoted:
            verb = Promote(candidate.version, pinned=False)
        cause = verdict.first_seq, verdict.last_seq
        order = Order(name, verb, "gate", reason, True, cause, {"verdict": asdict(verdict)})
        self._pending = Decision(order, candidate, verdict, gate.candidate_errors.tolist())
        return order

    def settled(self, order: Order, *, committed: bool) -> None:
        """What was decided is an event by now, or will never be one. Only now does anything here
        change its mind."""
        pending = self._pending
        if pending is None or pending.order is not order:
            return
        self._pending = None
        self._candidates.pop(pending.candidate.version, None)
        self._errors["candidate"].clear()
        if not committed:
            return
        name, metrics, verdict = self.spec.name, self._metrics, pending.verdict
        said = "promoted" if verdict.promoted else "rejected"
        metrics.gate_verdicts.labels(name, said).inc()
        metrics.gate_statistic.labels(name).set(verdict.statistic)
        metrics.gate_p_value.labels(name).set(verdict.p_value)
        self.verdict = asdict(verdict)
        if verdict.promoted:
            self.champion = pending.candidate
            self._errors["champion"].clear()
            if self.guard is not None:
                self.guard.promoted(pending.errors)
                if self.lines.several:
                    self.lines.promoted(self._recent.errors_of(self.champion)[1])

    def _set_aside(self, seq: int, line: str, signal: Signal) -> Order:
        """One line's labels went bad: only they are kept from teaching."""
        assert self.guard is not None
        # What was on probation may have learned some of them.
        dropped = self._discard()
        self.guard.reset()
        self.lines.forget(line)
        self._recent.forget(line)
        return self._consequences.of_line(line, seq, signal, dropped)

    def _discard(self) -> list[int]:
        """No candidate has a claim to be champion any more; their versions."""
        dropped = self.gate.discard() if self.gate is not None else []
        self._candidates.clear()
        self._pending = None
        return dropped

    def _alarmed(self, signal: Signal) -> list[Order]:
        assert self.guard is not None
        assert self.champion is not None
        stops = signal.kind == "guard"
        # What was on probation while the labels went bad has no claim to be champion.
        dropped = self._discard() if stops else []
        if stops and self.spec.guard == "alarm":
            # Nothing was stopped, so nothing will be resumed: go on watching from here.
            self.guard.reset()
        return self._consequences.of(signal, dropped, self.champion.version)

    def _score(
        self, who: str, labels: NDArray[np.int64], probabilities: NDArray[np.float32]
    ) -> None:
        known = labels >= 0
        self._errors[who].extend((probabilities.argmax(1) != labels)[known].astype(int).tolist())
