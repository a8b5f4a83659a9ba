"""Did the inputs move? Per feature: its level, its spread, its steps, its gaps, its repeats."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from service.drift.alarm import Alarm, Kind, Statistic
from service.drift.features import FeatureStatistics, input_series
from service.drift.series import SeriesStatistics
from service.drift.thresholds import RELEASE, Watch
from service.drift.windows import BLOCK, RowBlocks

Array = NDArray[np.float64]

# The series of a feature, in the order of their columns, and what to call it when one moves.
SERIES: tuple[tuple[str, Kind], ...] = (
    ("level", "shift"),
    ("deviation", "variance"),
    ("step", "variance"),
    ("missing", "missing"),
    ("repeats", "stuck"),
)
LEVEL, DEVIATION, STEP, MISSING, REPEATS = range(len(SERIES))

# Shares of the false alarms allowed: a shift matters most, and its threshold costs most delay.
SHARES = {LEVEL: 0.6, DEVIATION: 0.15, STEP: 0.15, REPEATS: 0.1}
# Below these, in reference sd and in fractions of the rows, a move is nobody's business.
LEAST_MOVE = 0.1
LEAST_MISSING_ROWS = 8
LEAST_MISSING = 0.02
# Steps this much smaller than usual mean a sensor that only dithers.
STUCK_STEPS = 0.3


class InputDetector:
    """Compares sliding windows of each feature with the reference.

    `rate_per_row` is how often it may cry wolf, all features together. A feature that is missing
    is not also called stuck, and one that is either is not also called shifted or noisy.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(60, 2, size=(4000, 1))
    >>> features = FeatureStatistics.of(x, ["temp_c"])
    >>> series, _ = input_series(features, x, np.full((1, 1), np.nan))
    >>> detector = InputDetector(features, SeriesStatistics.of(series), 1e-6)
    >>> detector.update(x)
    []
    >>> [(alarm.kind, alarm.feature) for alarm in detector.update(x[:500] + 2)]
    [('shift', 'temp_c')]
    """

    def __init__(
        self, features: FeatureStatistics, reference: SeriesStatistics, rate_per_row: float
    ) -> None:
        count = len(features.names)
        self._features = features
        self._reference = reference
        self._count = count
        self._before = np.full((1, count), np.nan)
        self._crossed_before = np.full(count, -1)
        self._blocks = RowBlocks(count)
        windows = reference.windows
        rate = rate_per_row / count
        thresholds = np.empty((len(windows), len(SERIES), count))
        for series in (LEVEL, DEVIATION, STEP):
            all_series = reference.thresholds(rate * SHARES[series])
            columns = all_series[:, series * count : (series + 1) * count]
            thresholds[:, series] = np.maximum(columns, LEAST_MOVE)
        thresholds[:, MISSING] = _missing_bounds(features, windows)
        thresholds[:, REPEATS] = _repeat_bounds(features, windows, rate * SHARES[REPEATS])
        # Of the missing and the repeated only more is an alarm; they come last.
        self._watch = Watch(windows, thresholds.reshape(len(windows), -1), two_sided=3 * count)

    def update(self, x: NDArray[np.floating]) -> list[Alarm]:
        """Take readings `(B, F)` in order of arrival, NaN for missing; the alarms that rise."""
        alarms: list[Alarm] = []
        for rows in self._blocks.push(x):
            series, indicators = input_series(self._features, rows, self._before)
            self._before = rows[-1:].copy()
            indicators = indicators.astype(np.float64)
            indicators[:, : self._count] -= self._features.missing
            watched = np.concatenate([self._reference.standardised(series), indicators], axis=1)
            for seen, crossed in self._watch.push(watched):
                alarms += self._told(crossed.reshape(len(SERIES), self._count), seen)
        return alarms

    def statistics(self) -> list[Statistic]:
        """Five per feature: see `SERIES`."""
        watch = self._watch
        return [
            Statistic(
                "inputs",
                kind,
                name,
                feature,
                float(watch.mean[i]),
                watch.threshold(i),
                watch.window(i),
                bool(watch.raised[i]),
            )
            for s, (name, kind) in enumerate(SERIES)
            for f, feature in enumerate(self._features.names)
            for i in (s * self._count + f,)
        ]

    def _told(self, crossed: NDArray[np.bool_], seen: int) -> list[Alarm]:
        raised = self._watch.raised.reshape(crossed.shape)
        ratio = self._watch.ratio.reshape(crossed.shape)
        mean = self._watch.mean.reshape(crossed.shape)
        lost = raised[MISSING] | raised[REPEATS]
        scattered = raised[DEVIATION] | raised[STEP]
        loses = crossed[MISSING] | (crossed[REPEATS] & ~raised[MISSING])
        moves = ~lost & crossed[LEVEL]
        jumps = ~lost & ~scattered & crossed[STEP] & (mean[STEP] > 0)
        # A shift moves the deviations too, a stuck sensor first looks like small steps: these are
        # told of at the second block, if nothing else has been by then.
        late = crossed.any(axis=0) & ~(lost | scattered | loses | moves | jumps)
        second = self._crossed_before == seen - BLOCK
        told = late & second & (crossed[STEP] | (ratio[LEVEL] < RELEASE))
        self._crossed_before[late & ~told] = seen
        alarms = []
        for f in np.flatnonzero(loses | moves | jumps | told):
            if loses[f]:
                series = MISSING if crossed[MISSING, f] else REPEATS
            elif moves[f]:
                series = LEVEL
            else:
                series = STEP if crossed[STEP, f] else DEVIATION
            raised[series, f] = True
            alarms.append(self._alarm(series, int(f), seen))
        return alarms

    def _alarm(self, series: int, feature: int, seen: int) -> Alarm:
        watch, name = self._watch, self._features.names[feature]
        column = series * self._count + feature
        mean, threshold, window = (
            float(watch.mean[column]),
            watch.threshold(column),
            watch.window(column),
        )
        kind = SERIES[series][1]
        if series == LEVEL:
            centre = float(self._features.centre[feature])
            now = centre + mean * float(
                self._reference.scale[feature] * self._features.scale[feature]
            )
            what = f"shifted: mean {now:.6g} over the last {window} rows, usually {centre:.6g}"
        elif series == MISSING:
            fraction = mean + float(self._features.missing[feature])
            what = (
                f"is missing in {fraction:.0%} of the last {window} rows, "
                f"usually {self._features.missing[feature]:.1%}"
            )
        elif series == REPEATS:
            what = (
                f"is stuck: the last {window} readings are equal, at most "
                f"{self._features.longest_run[feature]:.0f} in a row were before"
            )
        else:
            usual = float(self._reference.mean[column])
            times = max(1 + mean * float(self._reference.scale[column]) / max(usual, 1e-9), 0) ** 2
            if series == STEP and times < STUCK_STEPS:
                kind = "stuck"
            noun = "scatter" if series == DEVIATION else "step from row to row"
            verb = "hardly moves" if kind == "stuck" else "changed its spread"
            what = f"{verb}: {noun} {times:.2g} times the usual over the last {window} rows"
        return Alarm("inputs", kind, name, mean, threshold, window, seen, f"{name} {what}")


def _missing_bounds(features: FeatureStatistics, windows: NDArray[np.int64]) -> Array:
    """`(W, F)`: how much more than usual may be missing, six sd of independent gaps at least."""
    w = windows[:, None].astype(np.float64)
    usual = features.missing * (1 - features.missing)
    bounds: Array = np.maximum(6 * np.sqrt(usual / w), LEAST_MISSING_ROWS / w + LEAST_MISSING)
    return bounds


def _repeat_bounds(
    features: FeatureStatistics, windows: NDArray[np.int64], rate_per_row: float
) -> Array:
    """`(W, F)`: 1 (all rows repeat) at the one window that stands for stuck, else out of reach.

    A run of L repeats starts at a row with probability p^L; p is taken a little higher than seen
    (three in 10,000 rows: none seen in so many is compatible with that), L at least twice the
    longest run seen. A sensor that repeats for longer than any window is never called stuck.
    """
    bounds = np.full((len(windows), len(features.names)), np.inf)
    for f, (repeats, run) in enumerate(zip(features.repeats, features.longest_run, strict=True)):
        p = repeats + 3 / 10_000
        if p < 1:
            length = max(math.log(rate_per_row) / math.log(p), 2 * run, 2 * BLOCK)
            enough = np.flatnonzero(windows >= length)
            if len(enough):
                # A hair under 1, so that a window full of repeats is over it.
                bounds[enough[0], f] = 1 - 1e-9
    return bounds
