"""What a guard remembers and weighs: the past of both networks, and an open suspicion."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from service.evaluation.limits import CERTAIN, TELLING_ROWS
from service.evaluation.mixture import Mixture, Rates
from service.evaluation.wealth import Wealth

JUMP = 0.12
"""The rise of the champion's error rate that the CUSUM is designed for; half of it is the least
that can ever be noticed."""

BELOW_MARGIN = 0.03
"""A learner this much below the champion is its usual restlessness: it takes a step at each row."""

RECENT_ROWS = 100
"""Rows by which the past lies behind the present."""

PAST_ROWS = 400
"""Rows of the past."""

LEAST_PAST_ROWS = 150
"""Before so many rows of the past are known nothing can be told to have jumped."""

Kind = Literal["jump", "below", "learner"]

BACK_ROWS = 50
"""Rows over which the learner's loss is looked at where it is better than the champion."""


class Past:
    """Errors of one network, rows of the present apart from those of the past."""

    def __init__(self, errors: Iterable[int] = ()) -> None:
        self.recent: deque[int] = deque()
        self.past: deque[int] = deque()
        self.errors = 0
        self.least = LEAST_PAST_ROWS
        self.handicap = 0.0
        """By how much more often it is expected to err from now on than it did."""
        self._known = (-1, -1)
        self._jumped = (0.0, 0.0)
        self._upper = ((-1, -1), 0.0)
        for error in errors:
            self.push(int(error))

    @classmethod
    def settled(cls, errors: Iterable[int]) -> Past:
        """A past of which nothing is the present: what a champion does in a concept that it does
        not know is what it is expected to do from now on, however few rows have shown it."""
        found = cls()
        found.past.extend(errors)
        found.errors = sum(found.past)
        found.least = 0
        return found

    @classmethod
    def restored(cls, kept: Sequence[int], recent: int | None, least: int) -> Past:
        """The inverse of `to_list`, of which the last ``recent`` were the present; versions before
        this one did not say, and had no settled past."""
        if recent is None:
            return cls(kept)
        at = len(kept) - recent
        found = cls.settled(kept[:at])
        found.recent.extend(kept[at:])
        found.least = least
        return found

    @property
    def known(self) -> bool:
        """Whether there is enough of it to tell that something jumped."""
        return len(self.past) >= self.least

    def push(self, error: int) -> None:
        """Take one row's error, 0 or 1."""
        recent, past = self.recent, self.past
        recent.append(error)
        if len(recent) <= RECENT_ROWS:
            return
        more = recent.popleft()
        past.append(more)
        if len(past) > PAST_ROWS:
            more -= past.popleft()
        if more:
            self.errors += more

    def to_list(self) -> list[int]:
        """All errors, oldest first."""
        return [*self.past, *self.recent]

    def expecting(self, handicap: float) -> Past:
        """The same past of a network that is expected to err by so much more often from now on."""
        found = Past.settled(self.past)
        found.least, found.handicap = self.least, handicap
        return found

    @property
    def rows(self) -> int:
        return len(self.past)

    @property
    def rate(self) -> float:
        """The error rate of the past."""
        return (self.errors / len(self.past) if self.past else 0.0) + self.handicap

    @property
    def upper(self) -> float:
        """The rate and one standard error (of independent rows), so that a past that happened to be
        good is not held against the present."""
        # Asked for at every row, and seldom another than at the row before.
        of = self.errors, len(self.past)
        if self._upper[0] != of:
            rate = (self.errors + 1) / (len(self.past) + 2)
            if self.handicap:
                rate = min(rate + self.handicap, 0.9)
            self._upper = of, rate + math.sqrt(rate * (1 - rate) / (len(self.past) + 2))
        return self._upper[1]

    def jumped(self, error: int) -> float:
        """Log-likelihood ratio of a row for an error rate `JUMP` above this past's."""
        # The count of errors changes with few rows, and the logarithms with it only.
        if self._known != (self.errors, len(self.past)):
            self._known = (self.errors, len(self.past))
            self._jumped = log_likelihood_ratios(min(self.upper, 0.9), raised(self))
        return self._jumped[error]


class Suspicion:
    """What has been seen since the guard became suspicious.

    ``kind`` says of what: the champion's loss jumped, the learner fell below the champion, or the
    learner's own loss jumped, beside a champion that had none to lose.
    """

    def __init__(
        self,
        kind: Kind,
        first_seq: int,
        champion: Past,
        learner: Past,
    ) -> None:
        self.kind = kind
        self.first_seq = first_seq
        self.pasts = champion, learner
        self.champion: list[int] = []
        self.learner: list[int] = []
        self.novel: list[int] = []
        self.switches = self.rows = 0
        self.mixture = Mixture(Rates(0.0, 0.0, 0.0), {})
        self._silence = 0.0
        # An advantage that the learner had before proves nothing now.
        self.advantage = max(0.0, champion.rate - learner.rate)
        self.better = Wealth(self.advantage, restarts=False)
        self.below = Wealth(BELOW_MARGIN, restarts=False)
        self.back = 0.0
        self._back = log_likelihood_ratios(raised(learner), learner.upper)

    def expect(self, silence: float | None = None) -> None:
        """Both networks are expected to err by so much more often for sensors that fell silent
        (None: as last told), and for lines that are heard now, which always were harder."""
        if silence is not None:
            self._silence = silence
        handicap = self._silence + self.mixture.errors
        champion, learner = self.pasts
        # A mixture changes a little with every row, and a past is copied.
        if abs(handicap - champion.handicap) < (0.01 if handicap else 1e-9):
            return
        self.pasts = champion.expecting(handicap), learner.expecting(handicap)
        self._back = log_likelihood_ratios(raised(self.pasts[1]), self.pasts[1].upper)

    @property
    def told(self) -> bool:
        """Whether enough was seen since it began to bear it out, or not."""
        return len(self.champion) >= TELLING_ROWS

    @property
    def rise(self) -> float:
        """By how much more often than before the champion errs since it began; the learner beside a
        champion that has nothing to lose."""
        errors, past = self.champion, self.pasts[0]
        if self.kind == "learner":
            errors, past = self.learner, self.pasts[1]
        return sum(errors) / len(errors) - past.rate if errors else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable copy."""
        return {
            "kind": self.kind,
            "first_seq": self.first_seq,
            "handicap": self._silence,
            "mixture": self.mixture.to_dict(),
            "champion": list(self.champion),
            "learner": list(self.learner),
            "novel": list(self.novel),
            "switches": [self.switches, self.rows],
            "below": list(self.below.logs),
            "back": self.back,
        }

    @classmethod
    def restored(cls, kept: dict[str, Any], champion: Past, learner: Past) -> Suspicion:
        """The inverse of `to_dict`; versions before this one knew nothing of novel rows, and took
        all rows of a request for independent."""
        found = cls(kept["kind"], kept["first_seq"], champion, learner)
        found.mixture = Mixture.restored(kept.get("mixture"))
        found.expect(kept.get("handicap", 0.0))
        novel = kept.get("novel", [0] * len(kept["learner"]))
        for its, mine, new in zip(kept["champion"], kept["learner"], novel, strict=True):
            found.update(its, mine, new)
        found.switches, found.rows = kept.get("switches", (0, 0))
        found.below.logs = list(kept.get("below", found.below.logs))
        found.back = kept.get("back", found.back)
        return found

    def update(self, champion: int, learner: int, novel: int = 0, weight: float = 1.0) -> None:
        """Take one row's errors, whether its readings were never seen before, and as how many
        independent rows it counts."""
        self.novel.append(novel)
        self.champion.append(champion)
        self.learner.append(learner)
        self.better.update(champion - learner)
        self.below.update(learner - champion, weight)
        self.back = max(0.0, self.back + self._back[learner])

    def paired(self, rows: int) -> float:
        """Standard score of the learner's disadvantage over the last ``rows`` rows."""
        differences = np.array(self.learner[-rows:]) - np.array(self.champion[-rows:])
        mean = float(differences.mean())
        # Where each row differs by as much there is no deviation, and no doubt.
        deviation = float(differences.std()) / math.sqrt(len(differences)) or abs(mean) / CERTAIN
        return mean / deviation if deviation > 0 else 0.0

    def learns(self, past: Past) -> bool:
        """Whether the learner's loss is on its way back to its ``past``: to be better than a
        champion that knows nothing of a concept is no art, not even on labels that are wrong."""
        last = self.learner[-max(BACK_ROWS, len(self.learner) // 4) :]
        return not past.known or sum(last) / len(last) <= raised(past)


def trend(errors: Sequence[int]) -> float:
    """Standard score of the errors in the second half over those in the first."""
    half = len(errors) // 2
    first, second = errors[:half], errors[half:]
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
