"""The gate: a candidate becomes champion once it was not significantly worse on the same rows.

Both are frozen and both are scored on every labelled row that came after the candidate. What is
compared is the Brier score, which is proper and bounded: under the log-loss a single confident
mistake outweighs hundreds of rows, so that on noisy labels a model which merely lost its
confidence would win.

The losses of a line are autocorrelated, so the paired t statistic takes its variance from the
Bartlett kernel (Newey & West 1987, *A simple, positive semi-definite, heteroskedasticity and
autocorrelation consistent covariance matrix*, eq. 5), with the bandwidth 1.3·sqrt(n) of Lazarus,
Lewis, Stock & Watson 2018 (*HAR inference: recommendations for practice*, eq. 4) and the critical
values that a bandwidth of that size needs (Kiefer & Vogelsang 2005, *A new asymptotic theory for
heteroskedasticity-autocorrelation robust tests*, table 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.evaluation.limits import CERTAIN
from service.rows import UNKNOWN, Labels, Probabilities

Array = NDArray[np.float64]


class PairedTest(NamedTuple):
    """``statistic`` of the mean difference and the one-sided ``p_value`` of its being positive."""

    statistic: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says of a candidate, for the manifest and the audit trail.

    ``statistic`` is positive where the candidate is worse, ``p_value`` one-sided. The scores are
    mean Brier scores over the same ``rows`` labelled rows, less is better; these rows belong to
    the events ``first_seq`` to ``last_seq``.
    """

    version: int
    promoted: bool
    rows: int
    statistic: float
    p_value: float
    champion_score: float
    candidate_score: float
    first_seq: int
    last_seq: int


def brier(labels: Labels, probabilities: Probabilities) -> Array:
    """Half the squared distance to the one-hot label: `(b,)` in [0, 1], of `(b, K)`.

    Brier 1950, *Verification of forecasts expressed in terms of probability*, eq. 2, halved.
    """
    distance = probabilities.astype(np.float64)
    distance[np.arange(len(labels)), labels] -= 1
    found: Array = 0.5 * np.square(distance).sum(axis=1)
    return found


def bandwidth(rows: int) -> int:
    """Lags (the highest excluded) of the Bartlett kernel for so many rows."""
    return min(rows, math.ceil(1.3 * math.sqrt(rows)))


def long_run_variance(series: Array, lags: int) -> float:
    """Of a series `(n,)`: the variance of its mean, times n; ``lags`` 1 is the plain variance."""
    centred = series - series.mean()
    rows = len(series)
    found = float(centred @ centred) / rows
    for lag in range(1, lags):
        found += 2 * (1 - lag / lags) * float(centred[lag:] @ centred[:-lag]) / rows
    return found


def paired_test(differences: Array, lags: int | None = None) -> PairedTest:
    """Is the mean of autocorrelated ``differences`` `(n,)`, n at least 2, above zero?

    ``lags`` None takes `bandwidth`; 1 is the paired t test of independent rows.
    """
    rows = len(differences)
    lags = bandwidth(rows) if lags is None else lags
    mean = float(differences.mean())
    variance = long_run_variance(differences, lags) / (rows - 1)
    if variance <= 0:
        # No row tells the two apart, or every row by as much.
        statistic = 0.0 if mean == 0 else math.copysign(CERTAIN, mean)
    else:
        statistic = mean / math.sqrt(variance)
    # Kiefer & Vogelsang's 95 % point of the Bartlett kernel at b = lags/n, over the normal one.
    b = lags / rows if lags > 1 else 0.0
    wider = (1.6449 + 2.1859 * b + 0.3142 * b**2 - 0.3427 * b**3) / 1.6449
    return PairedTest(statistic, NormalDist().cdf(-statistic / wider))


class Gate:
    """Probation, one candidate at a time.

    A snapshot that is taken while another is on probation waits; a newer one takes its place in
    the queue of one. So the one on probation always gets its verdict, however often snapshots are
    taken, and what follows it is fresh. Nothing here need outlive the process: after a restart the
    newest candidate enters again, and its probation begins anew.

    Parameters
    ----------
    probation_rows
        Labelled rows until the verdict.
    significance
        Level of the one-sided test; so many candidates that are as good as the champion are
        rejected.

    >>> gate = Gate(probation_rows=4)
    >>> gate.enter(version=7)
    >>> labels = np.array([0, 1, 0, 1])
    >>> sure, unsure = np.eye(2)[labels], np.full((4, 2), 0.5)
    >>> gate.observe(31, labels, champion=unsure, candidate=sure).promoted
    True
    """

    def __init__(self, probation_rows: int = 500, significance: float = 0.05) -> None:
        if probation_rows < 2:
            raise ValueError(f"probation_rows: expected at least 2, found {probation_rows}")
        self.probation_rows = probation_rows
        self.significance = significance
        self.candidate: int | None = None
        self.waiting: int | None = None
        self._decided: bool
        self._rows: int
        self._first_seq: int
        self._last_seq: int
        self._champion: list[Array]
        self._candidate: list[Array]
        self._errors: list[NDArray[np.int64]]
        self._restart()

    def enter(self, version: int) -> int | None:
        """A new snapshot: on probation, or in the queue; the version that it displaced there."""
        if self.candidate is None:
            self.candidate = version
            return None
        displaced, self.waiting = self.waiting, version
        return displaced

    def discard(self) -> list[int]:
        """Drop all candidates; their versions."""
        dropped = [v for v in (self.candidate, self.waiting) if v is not None]
        self.candidate = self.waiting = None
        self._restart()
        return dropped

    def champion_changed(self) -> None:
        """By another hand than the gate's: the probation begins anew, against the new one."""
        self._restart()

    @property
    def rows(self) -> int:
        """Labelled rows of the present probation so far."""
        return self._rows

    @property
    def candidate_errors(self) -> NDArray[np.int64]:
        """0 or 1 per labelled row of the present probation: was the candidate wrong? It is what
        `Guard.promoted` needs, and is kept after a verdict until the next `observe`."""
        return np.concatenate(self._errors) if self._errors else np.zeros(0, np.int64)

    def observe(
        self,
        seq: int,
        labels: Labels,
        champion: Probabilities,
        candidate: Probabilities,
        *,
        hold: bool = False,
        untrained: bool = False,
    ) -> Verdict | None:
        """Score a labelled batch that came after the candidate; the verdict when it is due.

        Parameters
        ----------
        seq
            Of the batch's event.
        labels
            `(b,)` class indices, `UNKNOWN` where there is none.
        champion, candidate
            `(b, K)` probabilities of the two frozen networks for the same rows.
        hold
            No verdict now, the rows count all the same: the guard suspects poison.
        untrained
            The champion has never learned anything. Its labels may come in blocks, and then any
            network may look good by chance; so the candidate has to do better than equal
            probabilities for all classes, which is what knowing nothing looks like.
        """
        if self._decided:
            self._restart()
        if self.candidate is None:
            return None
        known = labels != UNKNOWN
        labels = labels[known]
        if len(labels):
            champion, candidate = champion[known], candidate[known]
            if untrained:
                champion = np.full_like(champion, 1 / champion.shape[1])
            if not self._rows:
                self._first_seq = seq
            self._last_seq = seq
            self._rows += len(labels)
            self._champion.append(brier(labels, champion))
            self._candidate.append(brier(labels, candidate))
            self._errors.append((candidate.argmax(axis=1) != labels).astype(np.int64))
        if hold or self._rows < self.probation_rows:
            return None
        return self._decide(untrained)

    def _decide(self, untrained: bool) -> Verdict:
        champion, candidate = np.concatenate(self._champion), np.concatenate(self._candidate)
        test = paired_test(candidate - champion)
        better = bool(candidate.mean() < champion.mean())
        assert self.candidate is not None
        verdict = Verdict(
            version=self.candidate,
            promoted=better if untrained else test.p_value >= self.significance,
            rows=self._rows,
            statistic=test.statistic,
            p_value=test.p_value,
            champion_score=float(champion.mean()),
            candidate_score=float(candidate.mean()),
            first_seq=self._first_seq,
            last_seq=self._last_seq,
        )
        self.candidate, self.waiting = self.waiting, None
        self._decided = True
        return verdict

    def _restart(self) -> None:
        self._decided = False
        self._rows = 0
        self._first_seq = self._last_seq = 0
        self._champion, self._candidate, self._errors = [], [], []
