"""The guard: learning stops itself when the labels no longer teach.

Poison and drift look alike at first: a frozen champion suddenly errs. What tells them apart is the
learner. A process that changed can be learned, so within some hundred rows the learner is either as
good as before or better than the champion. Labels that are wrong at random cannot be learned: it
is neither. So the guard suspects first, and waits `guard_rows` for an acquittal.

Losses are 0 or 1 (was the most probable class wrong?). Under the log-loss an overconfident champion
on noisy labels looks worse than a learner that merely lost its confidence, which would acquit every
poison.

1. *Has the champion's loss jumped?* CUSUM for a Bernoulli series (Reynolds & Stoumbos 1999, *A
   CUSUM chart for monitoring a proportion when inspecting continuously*) from its recent past to
   `JUMP` above. The past slides along behind the present, so that only jumps count: a slow rise is
   what a frozen network does while a process wears.
2. *Is one of the two better?* Betting on the paired differences: wealth multiplies by
   ``1 + λ(d - margin)``, and grows beyond 1/α with probability α at most, whenever one looks
   (Ville 1939; Waudby-Smith & Ramdas 2024, *Estimating means of bounded random variables by
   betting*). Restarted at 1 it is a CUSUM whose mean time between false alarms is 1/α rows
   (Shin, Ramdas & Rinaldo 2024, *E-detectors*).
3. *Is the learner back at its own loss from before?* The CUSUM of 1, downwards.

Pure: no I/O, no clock; the same rows give the same signals, in whatever batches they come.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]
Probabilities = NDArray[np.floating[Any]]

UNKNOWN = -1
"""The class index of a row without a label."""

JUMP = 0.12
"""The rise of the champion's error rate that the CUSUM is designed for; half of it is the least
that can ever be noticed."""

JUMP_LIMIT = 5.0
"""Log-likelihood ratio at which the champion's loss has jumped. A false suspicion costs nothing but
a later verdict of the gate."""

BACK_LIMIT = 6.9
"""Log-likelihood ratio at which the learner is back at its loss from before: -log(0.001)."""

BETTER_ALPHA = 0.005
"""Chance that a learner which is not better than the champion is called so, per suspicion."""

BELOW_ALPHA = 1e-4
"""Of a learner that is not below the champion: per suspicion, and per row where there is none."""

BELOW_MARGIN = 0.03
"""A learner this much below the champion is its usual restlessness: it takes a step at each row."""

BELOW_SCORE = 1.645
"""Standard score of the learner's disadvantage at which it is still below the champion."""

LEANING_SCORE = -0.5
"""A learner that is ahead of the champion by so much when its time is up gets more. While rows of
an old and a new concept mix, neither is learned before the new one prevails."""

CLEAR_RISE = 0.18
"""The guard fires after `guard_rows` when the champion's error rate has risen by so much: three
labels in ten are wrong, or half of those whose class changed."""

LEAST_RISE = 0.12
"""With a smaller rise it waits `PATIENCE` times as long, for so does a process that slowly changes;
below this one it does not fire at all."""

TREND = 1.5
"""Standard score at which the champion's errors still become more frequent: what is poisoned is so
from one row to the next, what changes slowly goes on changing. The guard waits."""

LAST_TREND = 2.5
"""The same at the end of a suspicion. The guard does not fire."""

PATIENCE = 6
"""Times `guard_rows`: the end of every suspicion."""

RECENT_ROWS = 100
"""Rows by which the past lies behind the present."""

PAST_ROWS = 400
"""Rows of the past."""

LEAST_PAST_ROWS = 150
"""Before so many rows of the past are known nothing can be told to have jumped."""

BETS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Fractions λ of the wealth that are put on the next difference, in parallel."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What the guard has to say, once.

    ``guard``: stop learning. ``concept_changed``: the labels mean something else than before, and
    consistently so; whether the process changed or the labelling, only people know.

    ``cause`` is the range of events, first and last `seq`, that the signal rests on. ``statistic``
    is the standard score of the champion's errors since the cause began against those before
    (guard), or of learner against champion (the others); ``p_value`` is one-sided.
    """

    kind: Literal["guard", "concept_changed"]
    cause: tuple[int, int]
    statistic: float
    p_value: float
    message: str


class Wealth:
    """A bet that the mean of differences d in {-1, 0, 1} exceeds ``margin``."""

    def __init__(self, margin: float, *, restarts: bool) -> None:
        self.margin = margin
        self.restarts = restarts
        # λ < 1/(1 + margin) keeps the wealth positive whatever comes.
        self._gains = [
            tuple(math.log1p(min(b, 0.95 / (1 + margin)) * (d - margin)) for b in BETS)
            for d in (0, 1, -1)
        ]
        self.logs = [0.0] * len(BETS)

    def update(self, difference: int) -> None:
        """Take one difference."""
        # Index -1 is the last of the three: d = -1.
        for index, gain in enumerate(self._gains[difference]):
            log = self.logs[index]
            self.logs[index] = (max(log, 0.0) if self.restarts else log) + gain

    @property
    def log(self) -> float:
        """The logarithm of the mean wealth over all bets."""
        top = max(self.logs)
        return top + math.log(sum(math.exp(log - top) for log in self.logs) / len(BETS))

    def exceeds(self, alpha: float) -> bool:
        """Is the wealth at least 1/α?"""
        # The mean is between the maximum and its share of it: most rows need no exponentials.
        limit = -math.log(alpha)
        return max(self.logs) >= limit and self.log >= limit


class Past:
    """Errors of one network, rows of the present apart from those of the past."""

    def __init__(self, errors: Iterable[int] = ()) -> None:
        self.recent: deque[int] = deque()
        self.past: deque[int] = deque()
        self.errors = 0
        for error in errors:
            self.push(int(error))

    def push(self, error: int) -> None:
        """Take one row's error, 0 or 1."""
        self.recent.append(error)
        if len(self.recent) <= RECENT_ROWS:
            return
        old = self.recent.popleft()
        self.past.append(old)
        self.errors += old
        if len(self.past) > PAST_ROWS:
            self.errors -= self.past.popleft()

    def to_list(self) -> list[int]:
        """All errors, oldest first; ``Past`` of them is this one again."""
        return [*self.past, *self.recent]

    @property
    def rows(self) -> int:
        return len(self.past)

    @property
    def rate(self) -> float:
        """The error rate of the past."""
        return self.errors / len(self.past) if self.past else 0.0

    @property
    def upper(self) -> float:
        """The rate and one standard error (of independent rows), so that a past that happened to be
        good is not held against the present."""
        rate = (self.errors + 1) / (len(self.past) + 2)
        return rate + math.sqrt(rate * (1 - rate) / (len(self.past) + 2))


class Suspicion:
    """What has been seen since the guard became suspicious.

    ``kind`` says of what: the champion's loss jumped, or the learner fell below the champion.
    """

    def __init__(
        self, kind: Literal["jump", "below"], first_seq: int, champion: Past, learner: Past
    ) -> None:
        self.kind = kind
        self.first_seq = first_seq
        self.champion: list[int] = []
        self.learner: list[int] = []
        # An advantage that the learner had before proves nothing now.
        self.advantage = max(0.0, champion.rate - learner.rate)
        self.better = Wealth(self.advantage, restarts=False)
        self.below = Wealth(BELOW_MARGIN, restarts=False)
        self.back = 0.0
        self._back = log_likelihood_ratios(raised(learner), learner.upper)

    def update(self, champion: int, learner: int) -> None:
        """Take one row's errors."""
        self.champion.append(champion)
        self.learner.append(learner)
        self.better.update(champion - learner)
        self.below.update(learner - champion)
        self.back = max(0.0, self.back + self._back[learner])

    def paired(self, rows: int) -> float:
        """Standard score of the learner's disadvantage over the last ``rows`` rows."""
        differences = np.array(self.learner[-rows:]) - np.array(self.champion[-rows:])
        deviation = float(differences.std()) / math.sqrt(len(differences))
        return float(differences.mean()) / deviation if deviation > 0 else 0.0

    def trend(self) -> float:
        """Standard score of the champion's errors in the second half over those in the first."""
        half = len(self.champion) // 2
        first, second = self.champion[:half], self.champion[half:]
        return proportions(sum(second), len(second), sum(first), len(first))


def raised(past: Past) -> float:
    """The error rate that counts as jumped."""
    return min(past.upper + JUMP, 0.95)


def log_likelihood_ratios(null: float, alternative: float) -> tuple[float, float]:
    """Of a right row and of a wrong one, for error rate ``alternative`` over ``null``."""
    return math.log((1 - alternative) / (1 - null)), math.log(alternative / null)


def proportions(errors: int, rows: int, past_errors: int, past_rows: int) -> float:
    """Standard score of two independent proportions' difference, pooled variance."""
    pooled = (errors + past_errors) / (rows + past_rows)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / rows + 1 / past_rows))
    return (errors / rows - past_errors / past_rows) / deviation if deviation > 0 else 0.0


class Guard:
    """Watches the learner beside the frozen champion, row by row.

    After a ``guard`` signal it is silent until `reset`. `guard_rows`: how long a suspicion waits
    for an acquittal.
    """

    def __init__(self, guard_rows: int = 300) -> None:
        if guard_rows < 20:
            raise ValueError(f"guard_rows: expected at least 20, found {guard_rows}")
        self.guard_rows = guard_rows
        self.reset()

    def reset(self) -> None:
        """Start over, nothing known: after a rollback, a rebase, a thaw."""
        self.fired = False
        self._learner = Past()
        self._begin(Past())

    def promoted(self, errors: Iterable[int]) -> None:
        """Another champion, whose 0 or 1 ``errors`` on the last labelled rows are known.

        What a candidate did on probation (`Gate.candidate_errors`) is the champion's past: without
        it the guard would be blind until it has one, and take for usual whatever it finds then.
        """
        self._begin(Past(errors))

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable, so that a restart during a suspicion does not end it."""
        suspicion = self._suspicion
        return {
            "fired": self.fired,
            "learner": self._learner.to_list(),
            "champion": self._champion.to_list(),
            "below": self._below.logs,
            "below_since": self._below_since,
            "jump": self._jump,
            "jump_since": self._jump_since,
            "suspicion": None
            if suspicion is None
            else {
                "kind": suspicion.kind,
                "first_seq": suspicion.first_seq,
                "champion": suspicion.champion,
                "learner": suspicion.learner,
            },
        }

    def restore(self, plain: dict[str, Any]) -> None:
        """The inverse of `to_dict`. Raises KeyError where a field is absent."""
        self.fired = plain["fired"]
        self._learner = Past(plain["learner"])
        self._begin(Past(plain["champion"]))
        self._below.logs = list(plain["below"])
        self._below_since = plain["below_since"]
        self._jump = plain["jump"]
        self._jump_since = plain["jump_since"]
        if (kept := plain["suspicion"]) is not None:
            suspicion = Suspicion(kept["kind"], kept["first_seq"], self._champion, self._learner)
            for champion, learner in zip(kept["champion"], kept["learner"], strict=True):
                suspicion.update(champion, learner)
            self._suspicion = suspicion

    @property
    def suspicious(self) -> bool:
        """While so, the gate had better `hold` its verdict."""
        return self._suspicion is not None

    def observe(
        self, seq: int, labels: Labels, learner: Probabilities, champion: Probabilities
    ) -> Signal | None:
        """Take a labelled batch.

        Parameters
        ----------
        seq
            Of the batch's event.
        labels
            `(b,)` class indices, `UNKNOWN` where there is none.
        learner
            `(b, K)` probabilities, made before the batch was learned.
        champion
            `(b, K)` probabilities of the frozen champion.
        """
        if self.fired:
            return None
        known = labels != UNKNOWN
        learner_errors = (learner.argmax(axis=1) != labels)[known].tolist()
        champion_errors = (champion.argmax(axis=1) != labels)[known].tolist()
        found: Signal | None = None
        for mine, its in zip(learner_errors, champion_errors, strict=True):
            signal = self._row(seq, int(mine), int(its))
            if signal is not None and signal.kind == "guard":
                self.fired = True
                return signal
            found = found or signal
        return found

    def _begin(self, champion: Past) -> None:
        self._champion = champion
        self._suspicion: Suspicion | None = None
        self._below = Wealth(BELOW_MARGIN, restarts=True)
        self._below_since: int | None = None
        self._jump = 0.0
        self._jump_since: int | None = None

    def _row(self, seq: int, learner: int, champion: int) -> Signal | None:
        suspicion = self._suspicion
        if suspicion is None:
            self._learner.push(learner)
            self._champion.push(champion)
            self._suspect(seq, learner, champion)
            return None
        suspicion.update(champion, learner)
        return self._judge(seq, suspicion)

    def _suspect(self, seq: int, learner: int, champion: int) -> None:
        if min(self._champion.rows, self._learner.rows) < LEAST_PAST_ROWS:
            return
        self._below.update(learner - champion)
        if max(self._below.logs) <= 0:
            self._below_since = None
        elif self._below_since is None:
            self._below_since = seq
        null = min(self._champion.upper, 0.9)
        self._jump += log_likelihood_ratios(null, raised(self._champion))[champion]
        if self._jump <= 0:
            self._jump, self._jump_since = 0.0, None
        elif self._jump_since is None:
            self._jump_since = seq
        if self._jump >= JUMP_LIMIT and self._jump_since is not None:
            since = self._jump_since
            self._suspicion = Suspicion("jump", since, self._champion, self._learner)
        elif self._below.exceeds(BELOW_ALPHA) and self._below_since is not None:
            since = self._below_since
            self._suspicion = Suspicion("below", since, self._champion, self._learner)

    def _judge(self, seq: int, suspicion: Suspicion) -> Signal | None:
        rows = len(suspicion.learner)
        if suspicion.better.exceeds(BETTER_ALPHA):
            return self._changed(seq, suspicion)
        if suspicion.back >= BACK_LIMIT:
            self._acquit(forget=False)
            return None
        if suspicion.kind == "jump" and suspicion.below.exceeds(BELOW_ALPHA):
            return self._fire(seq, suspicion)
        if rows < self.guard_rows:
            return None
        return self._overdue(seq, suspicion)

    def _overdue(self, seq: int, suspicion: Suspicion) -> Signal | None:
        """Nothing was proved in time: what is likely?"""
        rows = len(suspicion.learner)
        half = self.guard_rows // 2
        score = suspicion.paired(half)
        if suspicion.kind == "below":
            # A learner that comes back to a concept which the champion never left is below it at
            # first; what counts is whether it still is.
            below = (sum(suspicion.learner[-half:]) - sum(suspicion.champion[-half:])) / half
            if below > BELOW_MARGIN and score >= BELOW_SCORE:
                return self._fire(seq, suspicion)
            self._acquit(forget=False)
            return None
        rise = sum(suspicion.champion) / rows - self._champion.rate
        last = rows >= PATIENCE * self.guard_rows
        steady = suspicion.trend() < (LAST_TREND if last else TREND)
        if last:
            if rise >= LEAST_RISE and steady:
                return self._fire(seq, suspicion)
        elif rise >= CLEAR_RISE and steady and score > LEANING_SCORE:
            return self._fire(seq, suspicion)
        if last:
            self._acquit(forget=False)
        return None

    def _acquit(self, *, forget: bool) -> None:
        if forget:
            self._learner = Past()
            self._begin(Past())
            return
        suspicion = self._suspicion
        if suspicion is not None:
            for mine, its in zip(suspicion.learner, suspicion.champion, strict=True):
                self._learner.push(mine)
                self._champion.push(its)
        self._begin(self._champion)

    def _changed(self, seq: int, suspicion: Suspicion) -> Signal:
        wealth = suspicion.better.log
        rows = len(suspicion.learner)
        mine, its = sum(suspicion.learner) / rows, sum(suspicion.champion) / rows
        usual = self._champion.rate
        self._acquit(forget=True)
        return Signal(
            "concept_changed",
            (suspicion.first_seq, seq),
            -suspicion.paired(rows),
            math.exp(-wealth),
            f"the concept changed: over {rows} labelled rows the champion errs in {its:.1%}, "
            f"{usual:.1%} before, while the learner, which goes on learning, errs in {mine:.1%}",
        )

    def _fire(self, seq: int, suspicion: Suspicion) -> Signal:
        rows = len(suspicion.learner)
        mine, its = sum(suspicion.learner), sum(suspicion.champion)
        past = self._champion
        cause = (suspicion.first_seq, seq)
        numbers = (
            f"over {rows} labelled rows the learner errs in {mine / rows:.1%}, "
            f"{self._learner.rate:.1%} before, the champion in {its / rows:.1%}, {past.rate:.1%} before"
        )
        if suspicion.kind == "below":
            score = suspicion.paired(rows)
            return Signal(
                "guard",
                cause,
                score,
                NormalDist().cdf(-score),
                f"the learner fell below the champion and stays there: {numbers}",
            )
        score = proportions(its, rows, past.errors, past.rows)
        return Signal(
            "guard",
            cause,
            score,
            NormalDist().cdf(-score),
            f"the labels stopped teaching: {numbers}",
        )
