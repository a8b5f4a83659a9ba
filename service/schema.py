"""A model's schema: its sensors and classes, and what a reading out of range means.

Used by learner and replica alike, so it needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import Fault, InvalidRequest
from service.rows import Rows

FAULTS_SHOWN = 20
"""A batch may be wrong in thousands of places; a reader needs the first few."""

FLOAT32_MAX = float(np.finfo(np.float32).max)

ZERO = np.float32(0)
"""Added to readings, so that -0.0 and 0 are one: a batch sent again must have the same bytes."""


Replaced = dict[str, dict[str, int]]
"""By kind, missing or out_of_range, and by sensor: how many readings were replaced."""


UNLISTED = -1.0
"""Stands for a value that is none of its sensor's: out of the range of their indices."""


@dataclass(frozen=True, slots=True)
class Sensor:
    """Name, unit and declared range; what a reading outside of it counts as.

    A sensor with ``values`` says one of them: then a reading is its index, everywhere but where it
    is sent and where people read it.
    """

    name: str
    unit: str
    low: float
    high: float
    out_of_range: str = "missing"
    values: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """What a reading must be, for people."""
        if self.values:
            return f"an index of its values, 0 to {len(self.values) - 1}"
        return f"a reading in [{self.low:g}, {self.high:g}]{' ' + self.unit if self.unit else ''}"

    def to_json(self) -> dict[str, Any]:
        about: dict[str, Any] = {"range": [self.low, self.high]}
        if self.values:
            about = {"kind": "category", "values": list(self.values)}
        return {"name": self.name, "unit": self.unit, **about, "out_of_range": self.out_of_range}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Sensor:
        """The inverse of `to_json`."""
        values = tuple(value.get("values", ()))
        low, high = value["range"] if not values else (0, len(values) - 1)
        return cls(
            value["name"], value["unit"], float(low), float(high), value["out_of_range"], values
        )


@dataclass(frozen=True, slots=True)
class Readings:
    """The sensor part of a request after checking.

    Parameters
    ----------
    rows
        (B, n) float32 in raw units; NaN where missing, out-of-range readings already replaced.
    raw
        (B, n) float32 as sent, for the drift monitor; the same array where nothing was replaced.
    missing
        Readings that were not sent or null.
    out_of_range
        Readings outside the declared range.
    """

    rows: Rows
    raw: Rows
    missing: int
    out_of_range: int


class Schema:
    """What a model reads and says.

    Parameters
    ----------
    sensors
        In the order of the network's inputs.
    classes
        In the order of the network's outputs.
    display_name
        What people call the model, in any script. It means nothing to the network.
    """

    def __init__(
        self, sensors: Sequence[Sensor], classes: Sequence[str], display_name: str | None = None
    ) -> None:
        self.display_name = display_name
        self.sensors = tuple(sensors)
        self.classes = tuple(classes)
        self._column = {sensor.name: index for index, sensor in enumerate(self.sensors)}
        self._class = {name: index for index, name in enumerate(self.classes)}
        one = len(self._column) == 1
        # Of one name `itemgetter` gives no tuple.
        get = itemgetter(*self._column)
        self._in_order = (lambda row: (get(row),)) if one else get
        self._low = np.array([s.low for s in self.sensors], np.float32)
        self._high = np.array([s.high for s in self.sensors], np.float32)
        # In float64: what lies between these does so when it is rounded, too.
        self._least = np.maximum(self._low.astype(np.float64), -FLOAT32_MAX)
        self._most = np.minimum(self._high.astype(np.float64), FLOAT32_MAX)
        self._clip = np.array([s.out_of_range == "clip" for s in self.sensors])
        self._reject = np.array([s.out_of_range == "reject" for s in self.sensors])
        self.categories: dict[int, dict[str | None, float | None]] = {
            column: {None: None, "": None, **{v: float(i) for i, v in enumerate(s.values)}}
            for column, s in enumerate(self.sensors)
            if s.values
        }
        """By column of a sensor with values the index of each; none where nothing is said."""
        self._listed = np.array([bool(s.values) for s in self.sensors])

    def to_json(self) -> dict[str, Any]:
        return {
            "display_name": self.display_name,
            "features": [s.to_json() for s in self.sensors],
            "classes": list(self.classes),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Schema:
        """The inverse of `to_json`."""
        sensors = [Sensor.from_json(feature) for feature in value["features"]]
        return cls(sensors, value["classes"], value.get("display_name"))

    @property
    def called(self) -> dict[str, str]:
        """The display name, for logs; nothing where there is none."""
        return {} if self.display_name is None else {"display_name": self.display_name}

    @property
    def names(self) -> list[str]:
        """Of the sensors."""
        return [sensor.name for sensor in self.sensors]

    @property
    def ranges(self) -> list[tuple[float, float]]:
        """Of the sensors; of a category that of its indices."""
        return [(sensor.low, sensor.high) for sensor in self.sensors]

    @property
    def values(self) -> list[tuple[str, ...]]:
        """Of the sensors, none of one that measures."""
        return [sensor.values for sensor in self.sensors]

    def column(self, sensor: str) -> int | None:
        """Where a sensor's readings stand in a row; None for one that there is not."""
        return self._column.get(sensor)

    def in_order(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """Readings by the network's inputs, of a row that has them all; raises KeyError."""
        return self._in_order(row)

    def replaced(self, readings: Readings) -> Replaced:
        """What of a request's readings was replaced; empty where nothing was."""
        found: Replaced = {}
        if not (readings.missing or readings.out_of_range):
            return found
        sent = readings.raw == readings.raw
        outside = sent & (readings.rows != readings.raw)
        for kind, where in (("missing", ~sent), ("out_of_range", outside)):
            counts = where.sum(0)
            columns = np.flatnonzero(counts)
            if len(columns):
                found[kind] = {self.sensors[c].name: int(counts[c]) for c in columns}
        return found

    def class_index(self, name: str) -> int | None:
        """Which output of the network a class is; None for one that there is not."""
        return self._class.get(name)

    def ranged(self, sent: NDArray[np.floating[Any]]) -> Readings:
        """Rows (B, n) as sent, NaN where missing, after each sensor's range policy. A reading that
        float32 cannot hold lies outside of every range.

        Raises
        ------
        InvalidRequest
            Naming row, sensor, expected and found of the first readings that a policy rejects.
        """
        if (
            not self.categories
            and np.count_nonzero((sent >= self._least) & (sent <= self._most)) == sent.size
        ):
            # Nearly every request: nothing is missing, and rounding leaves no range.
            raw = sent.astype(np.float32) + ZERO
            return Readings(raw, raw, 0, 0)
        bounded = np.maximum(np.minimum(sent, FLOAT32_MAX), -FLOAT32_MAX)
        raw = bounded.astype(np.float32) + ZERO
        missing = raw.size - int(np.count_nonzero(raw == raw))
        outside = (raw < self._low) | (raw > self._high)
        if self.categories:
            # What lies between two indices is neither of them.
            outside |= self._listed & (raw != np.rint(raw)) & (raw == raw)
        count = int(np.count_nonzero(outside))
        if count == 0:
            return Readings(raw, raw, missing, 0)
        rejected = outside & self._reject
        if rejected.any():
            raise InvalidRequest(
                *(
                    Fault(
                        self.sensors[c].name,
                        self.sensors[c].expected,
                        f"{sent[r, c]:g}",
                        int(r),
                    )
                    for r, c in np.argwhere(rejected)[:FAULTS_SHOWN]
                )
            )
        clipped = np.clip(raw, self._low, self._high)
        rows = np.where(outside, np.where(self._clip, clipped, np.float32(np.nan)), raw)
        return Readings(rows.astype(np.float32), raw, missing, count)
