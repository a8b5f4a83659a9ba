"""A bet on which of two networks errs more often, and as how much evidence a row counts in it."""

from __future__ import annotations

import math

WITHIN_REQUEST = 0.1
"""Correlation of both networks' differences within one request: 0.10 at 100 rows a request, 0.06 at
20, by an analysis of variance over the suspicions of clean streams (`docs/guard-power.md`)."""

BETS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Fractions λ of the wealth that are put on the next difference, in parallel."""


def independent(rows: int) -> float:
    """As how much of an independent row each of so many ``rows`` of one request counts: one over
    the design effect of a cluster (Kish 1965, *Survey sampling*, sec. 5.4). A request of any size
    is never more than ten rows."""
    return 1.0 / (1.0 + (rows - 1) * WITHIN_REQUEST)


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
        self._rest = [*self._gains[0]]

    def update(self, difference: int, weight: float = 1.0) -> None:
        """Take one difference, which counts as ``weight`` independent ones (`independent`)."""
        if difference == 0:
            # Of most rows comes nothing but what there is.
            same = weight >= 1.0 and self.logs == self._rest if self.restarts else self.margin == 0
            if same:
                return
        # Index -1 is the last of the three: d = -1.
        gains = self._gains[difference]
        if weight < 1.0:
            gains = tuple(weight * gain for gain in gains)
        if self.restarts:
            self.logs = [(x if x > 0.0 else 0.0) + g for x, g in zip(self.logs, gains, strict=True)]
        else:
            self.logs = [x + g for x, g in zip(self.logs, gains, strict=True)]

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
