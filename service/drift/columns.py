"""What is watched of a model's sensors: readings of those that measure, shares of a category's
values.

The mean of indices says nothing of a mix: a line that changes from the first and the third alloy to
the second has the same one. So each value of a category is a feature of its own, named
``sensor=value``: 1 where it is said, 0 where another one is, missing where none is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.drift.alarm import Alarm, Statistic

Told = TypeVar("Told", Alarm, Statistic)


@dataclass(frozen=True)
class Columns:
    """How rows (B, n) as they were sent become what is watched, (B, F).

    Parameters
    ----------
    sensors
        Names of the n sensors.
    ranges
        The declared (low, high) of each. A reading far beyond counts as one half a range beyond: an
        error code must not be most of a sensor's spread. None: readings are taken as they are.
    values
        Those of each sensor, none of one that measures; empty where all do.

    >>> columns = Columns(("bar", "alloy"), None, ((), ("Al", "Cu", "鋼")))
    >>> columns.names
    ['bar', 'alloy=Al', 'alloy=Cu', 'alloy=鋼']
    >>> columns.of(np.array([[1.5, 2.0], [2.5, np.nan]], np.float32)).tolist()
    [[1.5, 0.0, 0.0, 1.0], [2.5, nan, nan, nan]]
    """

    sensors: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...] | None = None
    values: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def made(
        cls,
        sensors: Sequence[str],
        ranges: Sequence[tuple[float, float]] | None = None,
        values: Iterable[Sequence[str]] = (),
    ) -> Columns:
        """Of any sequences."""
        bounds = None if ranges is None else tuple((low, high) for low, high in ranges)
        return cls(tuple(sensors), bounds, tuple(map(tuple, values)))

    @cached_property
    def names(self) -> list[str]:
        """Of the F features."""
        return [feature for features in self._features for feature in features]

    def exported(self, most: int) -> set[str]:
        """The first ``most`` features, and the sensors whose values they are."""
        first = self.names[:most]
        return {*first, *(self._category[name] for name in first if name in self._category)}

    def of(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is watched of rows ``raw`` (B, n)."""
        bounded = raw
        if self._bounds is not None:
            bounded = np.clip(raw, *self._bounds).astype(np.float32)
        if not any(self.values):
            return bounded
        parts = []
        for column, known in enumerate(self.values):
            said = raw[:, column, None]
            if known:
                # A value that is none of them is another one.
                parts.append(np.where(np.isnan(said), np.nan, said == np.arange(len(known))))
            else:
                parts.append(bounded[:, column, None])
        return np.concatenate(parts, 1).astype(np.float32)

    def told(self, found: Iterable[Told]) -> list[Told]:
        """Alarms or statistics in the words of their sensors: a category that is missing
        is told of once, not by value; a value is not stuck, it is said always or never."""
        kept: list[Told] = []
        for each in found:
            sensor = self._category.get(each.feature or "")
            if sensor is None or each.kind not in ("missing", "stuck"):
                kept.append(each)
            elif each.kind == "stuck":
                kept.append(_always_or_never(each))
            elif not any(k.kind == "missing" and k.feature == sensor for k in kept):
                kept.append(_of_sensor(each, sensor))
        return kept

    @cached_property
    def _features(self) -> list[list[str]]:
        values = self.values or ((),) * len(self.sensors)
        return [
            [f"{sensor}={value}" for value in known] or [sensor]
            for sensor, known in zip(self.sensors, values, strict=True)
        ]

    @cached_property
    def _category(self) -> dict[str, str]:
        """The sensor of each feature that is a value."""
        by_sensor = zip(self.sensors, self._features, self.values, strict=bool(self.values))
        return {name: sensor for sensor, names, known in by_sensor if known for name in names}

    @cached_property
    def _bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        if self.ranges is None:
            return None
        low, high = np.array(self.ranges, np.float64).reshape(-1, 2).T
        reach = (high - low) / 2
        return low - reach, high + reach


def _always_or_never(told: Told) -> Told:
    if isinstance(told, Alarm):
        said = f"{told.feature} is said always or never: the last {told.window} rows are alike"
        return replace(told, sentence=said)
    return told


def _of_sensor(told: Told, sensor: str) -> Told:
    if isinstance(told, Alarm):
        sentence = sensor + told.sentence.removeprefix(told.feature or "")
        return replace(told, feature=sensor, sentence=sentence)
    return replace(told, feature=sensor)
