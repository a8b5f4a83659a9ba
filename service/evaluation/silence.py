"""Which sensors fell silent: nothing comes from them, or the same number with every row.

Without its best sensor a network errs more often, and learns only so much: to the guard that looks
like labels that stopped teaching. What it costs can be measured, on labelled rows of before from
which the same readings are taken away.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.evaluation.limits import TELLING_ROWS
from service.rows import Rows

USUAL = 0.5
"""A sensor that is silent in so many of the rows before, or more, is so by its nature."""

SILENT = 0.8
"""And one that fell silent is so in this part of the rows since, or more."""


Fallen = dict[int, float]
"""By column of a sensor that fell silent what it says since, NaN where nothing."""


class Silence:
    """Counts since a suspicion began.

    Parameters
    ----------
    before
        (n, sensors) raw readings of before, NaN where missing.
    """

    def __init__(self, before: Rows) -> None:
        self._usual = _counts(before[:1], before[1:]) / max(1, len(before) - 1)
        self._last = before[-1:]
        self._counts = np.zeros_like(self._usual)
        self._rows = 0

    def hear(self, rows: Rows) -> None:
        """Take (B, sensors) readings."""
        self._counts += _counts(self._last, rows)
        self._rows += len(rows)
        self._last = rows[-1:]

    @property
    def fallen(self) -> Fallen:
        """By column of a sensor that fell silent what it says since, NaN where nothing."""
        if self._rows < TELLING_ROWS or not len(self._last):
            return {}
        fell = (self._usual < USUAL) & (self._counts >= SILENT * self._rows)
        last = self._last[0]
        found = {int(column): float(last[column]) for column in np.flatnonzero(fell[1])}
        return found | {int(column): float("nan") for column in np.flatnonzero(fell[0])}


def without(rows: Rows, fallen: Fallen) -> Rows:
    """``rows`` as they would be of sensors that fell silent."""
    found = rows.copy()
    for column, said in fallen.items():
        found[:, column] = said
    return found


def _counts(last: Rows, rows: Rows) -> NDArray[np.float64]:
    """(2, sensors): in how many ``rows`` nothing was said, and the same as in the row before."""
    before = np.concatenate([last, rows])[: len(rows)]
    same = rows == before[: len(rows)] if len(last) else np.zeros(rows.shape, bool)
    return np.stack([np.isnan(rows).sum(0), same.sum(0)]).astype(np.float64)
