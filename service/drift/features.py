"""What is measured of a sensor: its level, its spread, its steps, its gaps and its repeats."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FeatureStatistics:
    """What the input detector needs of F features beside the series' own statistics.

    All `(F,)`: `centre` and `scale` standardise a reading, `low` and `high` are the bounds it is
    clipped to (standardised), `missing` the fraction of missing readings, `repeats` the fraction
    of readings equal to the one before, `longest_run` the most such in a row.
    """

    names: tuple[str, ...]
    centre: Array
    scale: Array
    low: Array
    high: Array
    missing: Array
    repeats: Array
    longest_run: Array

    @classmethod
    def of(cls, x: Array, names: Sequence[str]) -> FeatureStatistics:
        """From `(n, F)` readings, NaN for missing."""
        known = np.isfinite(x)
        number = np.maximum(known.sum(axis=0), 1)
        bounded = _without_outliers(x)
        centre = np.where(known, bounded, 0).sum(axis=0) / number
        unit = np.where(known, bounded - centre, 0.0)
        scale = np.maximum(np.sqrt((unit**2).sum(axis=0) / number), 1e-6 * np.abs(centre) + 1e-9)
        unit /= scale
        # One glitch must not drown a window: readings count up to one sd beyond the usual range.
        low, high = np.quantile(unit, [0.001, 0.999], axis=0) + np.array([[-1.0], [1.0]])
        same = x[1:] == x[:-1]
        return cls(
            tuple(names),
            centre,
            scale,
            low,
            high,
            1 - known.mean(axis=0),
            same.mean(axis=0),
            np.array([_longest_run(column) for column in same.T], dtype=np.float64),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable."""
        numbers = {k: getattr(self, k).tolist() for k in self.__slots__ if k != "names"}
        return {"names": list(self.names), **numbers}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> FeatureStatistics:
        """The inverse of `to_dict`. Raises KeyError where a field is absent."""
        fields = (np.array(plain[k], dtype=np.float64) for k in cls.__slots__ if k != "names")
        return cls(tuple(plain["names"]), *fields)


OUTLIER = 8.0
"""Readings farther than this from the median, in robust sd, are error codes, not the sensor."""


def _without_outliers(x: Array) -> Array:
    """Readings `(n, F)`, each sensor's bounded to `OUTLIER` robust sd about its median.

    One error code among ten thousand rows, or twenty, would else be most of the sensor's spread,
    and blind the watch over it (Huber 1981, Robust Statistics, section 5.1). A sensor that rests
    at one value nearly always has no such sd, and stays as it is.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():
        # A sensor that never sent a reading has no median.
        warnings.simplefilter("ignore", RuntimeWarning)
        low, median, high = np.nanquantile(x, [0.1, 0.5, 0.9], axis=0)
        apart = 1.4826 * np.nanmedian(np.abs(x - median), axis=0)
    # Of a normal variable, 2.563 sd lie between its deciles.
    spread = np.nan_to_num(np.maximum(apart, (high - low) / 2.563))
    reach = np.where(spread > 0, OUTLIER * spread, np.inf)
    found: Array = np.clip(x, np.nan_to_num(median) - reach, np.nan_to_num(median) + reach)
    return found


def _longest_run(same: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.r_[False, same, False].astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def input_series(features: FeatureStatistics, x: Array, before: Array) -> tuple[Array, Array]:
    """The series watched for readings `x` `(B, F)` that follow the reading `before` `(1, F)`.

    Returns `(B, 3F)`, NaN where a reading is missing: level z (the standardised reading), deviation
    sqrt|z| and step sqrt|z_t - z_(t-1)|; and `(B, 2F)` indicators: missing, equal to the one
    before. The root of a modulus is nearly normal where a square is heavily skewed (Hawkins 1981, A
    CUSUM for a scale parameter, Journal of Quality Technology 13).
    """
    raw = np.concatenate([before, x])
    z = (raw - features.centre) / features.scale
    z = np.minimum(np.maximum(z, features.low), features.high)
    now = z[1:]
    series = np.concatenate([now, np.sqrt(np.abs(now)), np.sqrt(np.abs(now - z[:-1]))], axis=1)
    indicators = np.concatenate([np.isnan(x), raw[1:] == raw[:-1]], axis=1)
    return series, indicators
