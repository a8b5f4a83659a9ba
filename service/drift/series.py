"""How S series and the means of their windows behave while nothing is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.drift.calibration import (
    LEAST,
    Line,
    corrected_level,
    crossing_level,
    cycle_bound,
    lines,
    uneven_variance,
    window_noise,
)
from service.drift.windows import BLOCK, WINDOWS

Array = NDArray[np.float64]

FEWEST_ROWS = 512
# Watched beside `WINDOWS`: windows as long as the strongest cycles found.
MOST_PERIODS = 3
# The spread of a series that cannot be calibrated: no mean is ever so far off.
UNWATCHED = 1e9


class ReferenceTooShortError(ValueError):
    """The window offered as a reference holds too few rows to calibrate anything by."""


@dataclass(frozen=True, slots=True)
class SeriesStatistics:
    """The stable behaviour of S series, as measured on a reference.

    `windows` `(W,)` rows; `mean`, `scale`, `low`, `high`, `freedom` `(S,)`, where `low` and `high`
    (in units of `scale`) bound what one row may count and `freedom` is how many independent squares
    the variances rest on. `(W, S)`, of (window's mean - reference's mean) in units of `scale`:
    `spread`, its standard deviation with the errors of both in it; `change` and `skew`, see
    `WindowNoise`; `cycle`, the most that the reference's cycles add to it.
    """

    windows: NDArray[np.int64]
    mean: Array
    scale: Array
    low: Array
    high: Array
    freedom: Array
    spread: Array
    change: Array
    skew: Array
    cycle: Array

    @classmethod
    def of(cls, series: Array) -> SeriesStatistics:
        """From `(n, S)` float64, NaN for missing. Raises ReferenceTooShortError."""
        n, count = series.shape
        require_rows(n)
        known = np.isfinite(series)
        number = np.maximum(known.sum(axis=0), 1)
        mean: Array = np.where(known, series, 0).sum(axis=0) / number
        centred = np.where(known, series - mean, 0)
        deviation = np.sqrt((centred**2).sum(axis=0) / number)
        # A series that never moved still gets a scale, far below any reading's resolution.
        scale = np.maximum(deviation, 1e-6 * np.abs(mean) + 1e-9)
        unit = centred / scale
        cycles = [_cycles(unit[:, i]) for i in range(count)]
        windows = _windows(n, [line for found, _, _ in cycles for line in found])
        spread, change, skew, cycle = np.zeros((4, len(windows), count))
        freedom = np.zeros(count)
        for i, (found, rest, offset) in enumerate(cycles):
            if not np.isfinite(rest).all():
                # It must not take the other series with it.
                spread[:, i], freedom[i] = UNWATCHED, 8.0
                continue
            # A broken turn of a cycle pulls the plain mean; the one fitted beside it is not.
            mean[i] += offset * scale[i]
            if deviation[i] == 0:
                # An idle series: whatever it will do, take its rows for independent.
                rest = np.asarray(np.random.default_rng(0).standard_normal(n))
            noise = window_noise(rest, windows, BLOCK)
            variance = noise.variance
            if found:
                turn = 1 / min(line.frequency for line in found)
                variance = np.where(windows < turn, uneven_variance(rest, found), 1.0) * variance
            total = variance + noise.long_run / n
            spread[:, i] = np.sqrt(np.maximum(total, 0.0))
            change[:, i] = noise.change * variance / np.maximum(total, LEAST)
            skew[:, i] = noise.skew
            cycle[:, i] = cycle_bound(found, windows)
            freedom[i] = max(n * float(np.mean(rest**2)) / max(noise.long_run, LEAST) / 2, 8.0)
        low, high = unit.min(axis=0) - 1, unit.max(axis=0) + 1
        return cls(windows, mean, scale, low, high, freedom, spread, change, skew, cycle)

    def thresholds(self, rate_per_row: float) -> Array:
        """`(W, S)` bounds on |window's mean - reference's mean|, in units of `scale`.

        Each series crosses its own about `rate_per_row` times a row, all windows together.
        """
        level = crossing_level(rate_per_row * BLOCK / len(self.windows), self.change)
        return self.cycle + self.spread * corrected_level(level, self.skew, self.freedom)

    def standardised(self, series: Array) -> Array:
        """`series` `(B, S)` in units of `scale` from `mean`, bounded; 0 where missing."""
        unit = np.minimum(np.maximum((series - self.mean) / self.scale, self.low), self.high)
        unit[np.isnan(unit)] = 0.0
        return unit

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable: where five significant digits are plenty, no more."""
        exact = {k: getattr(self, k).tolist() for k in ("windows", "mean", "scale")}
        return exact | {k: _short(getattr(self, k)) for k in self.__slots__[3:]}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> SeriesStatistics:
        """The inverse of `to_dict`. Raises KeyError where a field is absent."""
        floats = (np.array(plain[k], dtype=np.float64) for k in cls.__slots__[1:])
        return cls(np.array(plain["windows"], dtype=np.int64), *floats)


def _cycles(unit: Array) -> tuple[list[Line], Array, float]:
    try:
        return lines(unit, 2 * BLOCK)
    # Such as a fit that does not come to an end: the series is not watched, the others are.
    except (ArithmeticError, ValueError, np.linalg.LinAlgError):
        return [], np.full(len(unit), np.nan), 0.0


def require_rows(rows: int) -> None:
    """Raise ReferenceTooShortError for fewer than `FEWEST_ROWS`."""
    if rows < FEWEST_ROWS:
        raise ReferenceTooShortError(
            f"a reference needs at least {FEWEST_ROWS} rows, got {rows}: wait for more"
        )


def _short(values: Array) -> Any:
    rounded = [float(f"{v:.5g}") for v in values.ravel()]
    return np.array(rounded).reshape(values.shape).tolist()


def _windows(rows: int, cycles: Sequence[Line]) -> NDArray[np.int64]:
    """Lengths `(W,)`: `WINDOWS` up to a quarter of the reference, and the strongest periods."""
    found = {w for w in WINDOWS if w <= rows // 4}
    periods: list[float] = []
    for line in sorted(cycles, key=lambda line: -line.amplitude):
        period = 1 / line.frequency
        if len(periods) < MOST_PERIODS and all(abs(period / p - 1) > 0.05 for p in periods):
            periods.append(period)
    found |= {round(period / BLOCK) * BLOCK for period in periods}
    return np.array(sorted(found), dtype=np.int64)
