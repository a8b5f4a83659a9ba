"""Whether a line's readings are such as were seen before.

A regime that appears for the first time looks like poison: both networks err in it, and the learner
needs its time. What tells them apart are the inputs: poison contradicts what both networks know of
readings that are familiar. A row is novel where its k-th neighbour among rows of before is further
away than such neighbours are among themselves (Ramaswamy, Rastogi & Shim 2000, *Efficient
algorithms for mining outliers from large data sets*).

Pure: no I/O, no clock.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.rows import Rows

NEIGHBOUR = 5
"""Which neighbour's distance counts; itself excluded."""

REFERENCE_ROWS = 256
"""Of the rows before, so many are compared with, evenly taken."""

USUAL = 0.9
"""Part of the rows before that is familiar among themselves."""

FURTHEST = 10.0
"""Standardised readings are clipped here."""


class Novelty:
    """Compares rows with a sample of those before.

    Parameters
    ----------
    before
        (n, sensors) raw readings, NaN where missing; at least `NEIGHBOUR` + 1 of them, or nothing
        is ever novel.
    values
        How many each sensor has, 0 where it measures; empty where all do.
    """

    def __init__(self, before: Rows, values: tuple[int, ...] = ()) -> None:
        self._values = values
        step = max(1, len(before) // REFERENCE_ROWS)
        taken = self._opened(before[::step][-REFERENCE_ROWS:])
        with np.errstate(all="ignore"):
            known = np.isfinite(taken)
            count = np.maximum(known.sum(0), 1)
            self._mean = np.where(known, taken, 0.0).sum(0) / count
            spread = np.where(known, taken - self._mean, 0.0)
        self._deviation = np.sqrt(np.square(spread).sum(0) / count)
        self._deviation[self._deviation == 0] = 1.0
        self._reference = self._scaled(taken)
        self._limit = np.inf
        if len(taken) > NEIGHBOUR:
            among = self._distances(self._reference)
            self._limit = float(np.quantile(np.partition(among, NEIGHBOUR, 1)[:, NEIGHBOUR], USUAL))

    def of(self, rows: Rows) -> NDArray[np.bool_]:
        """(B,) which of ``rows`` (B, sensors) are novel."""
        if not np.isfinite(self._limit):
            return np.zeros(len(rows), bool)
        away = self._distances(self._scaled(self._opened(rows)))
        nearest = np.partition(away, NEIGHBOUR - 1, 1)[:, NEIGHBOUR - 1]
        return np.asarray(nearest > self._limit)

    def _opened(self, rows: Rows) -> NDArray[np.float64]:
        """Each value as a column of its own: the indices of two values that are near each other
        say nothing of them."""
        found = rows.astype(np.float64)
        if not self._values:
            return found
        parts = []
        for column, count in enumerate(self._values):
            said = found[:, column, None]
            # One that was never said lies as far away as anything can.
            one = np.where(np.isnan(said), np.nan, (said == np.arange(count)) * FURTHEST)
            parts.append(one if count else said)
        return np.concatenate(parts, 1)

    def _scaled(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(all="ignore"):
            scaled = (rows - self._mean) / self._deviation
        # What is missing is as usual.
        return np.asarray(np.clip(np.nan_to_num(scaled, nan=0.0), -FURTHEST, FURTHEST))

    def _distances(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B, reference) squared."""
        own = np.square(rows).sum(1)[:, None] + np.square(self._reference).sum(1)
        return np.asarray(np.maximum(own - 2 * rows @ self._reference.T, 0.0))
