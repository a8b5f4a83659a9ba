"""A model's schema, and the one place where what a line sends is checked and made into arrays.

Used by learner and replica alike, so it needs numpy alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.errors import Fault, InvalidRequest, TooLarge
from service.rows import UNKNOWN, Labels, Rows

FAULTS_SHOWN = 20
"""A batch may be wrong in thousands of places; a reader needs the first few."""

FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Sensor:
    """Name, unit and declared range; what a reading outside of it counts as."""

    name: str
    unit: str
    low: float
    high: float
    out_of_range: str = "missing"


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
    """

    def __init__(self, sensors: Sequence[Sensor], classes: Sequence[str]) -> None:
        self.sensors = tuple(sensors)
        self.classes = tuple(classes)
        self._column = {sensor.name: index for index, sensor in enumerate(self.sensors)}
        self._class = {name: index for index, name in enumerate(self.classes)}
        self._low = np.array([s.low for s in self.sensors], np.float32)
        self._high = np.array([s.high for s in self.sensors], np.float32)
        self._clip = np.array([s.out_of_range == "clip" for s in self.sensors])
        self._reject = np.array([s.out_of_range == "reject" for s in self.sensors])

    def to_json(self) -> dict[str, Any]:
        return {
            "features": [
                {
                    "name": s.name,
                    "unit": s.unit,
                    "range": [s.low, s.high],
                    "out_of_range": s.out_of_range,
                }
                for s in self.sensors
            ],
            "classes": list(self.classes),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Schema:
        """The inverse of `to_json`."""
        return cls(
            [
                Sensor(
                    f["name"],
                    f["unit"],
                    float(f["range"][0]),
                    float(f["range"][1]),
                    f["out_of_range"],
                )
                for f in value["features"]
            ],
            value["classes"],
        )

    def readings(self, body: Mapping[str, Any], limit: int) -> Readings:
        """Check ``rows`` or ``columns`` of a request.

        Raises
        ------
        InvalidRequest
            Naming row, field, expected and found of the first faults.
        TooLarge
            More than ``limit`` rows.
        """
        has_rows, has_columns = "rows" in body, "columns" in body
        if has_rows == has_columns:
            found = "both" if has_rows else f"neither, but {sorted(body)}"
            raise InvalidRequest(Fault("body", "either rows or columns", found))
        matrix = (
            self._from_rows(body["rows"], limit)
            if has_rows
            else self._from_columns(body["columns"], limit)
        )
        return self._ranged(matrix)

    def labels(self, value: Any, rows: int, *, required: bool = False) -> Labels | None:
        """Check labels: one class name or null per row; None when there are none at all."""
        if value is None and not required:
            return None
        if not isinstance(value, list):
            raise InvalidRequest(Fault("labels", "a list of class names or nulls", _said(value)))
        if len(value) != rows:
            raise InvalidRequest(Fault("labels", f"{rows} labels, one per row", f"{len(value)}"))
        out = np.full(rows, UNKNOWN, np.int64)
        faults = []
        for row, label in enumerate(value):
            if label is None:
                continue
            index = self._class.get(label) if isinstance(label, str) else None
            if index is None:
                expected = f"null or one of {_few(self.classes)}"
                faults.append(Fault("labels", expected, _said(label), row))
                if len(faults) == FAULTS_SHOWN:
                    break
            else:
                out[row] = index
        if faults:
            raise InvalidRequest(*faults)
        return out if (out != UNKNOWN).any() else None

    def _from_rows(self, rows: Any, limit: int) -> Rows:
        if not isinstance(rows, list):
            raise InvalidRequest(Fault("rows", "a list of objects", _said(rows)))
        self._bounded("rows", len(rows), limit)
        out = np.full((len(rows), len(self.sensors)), np.nan, np.float32)
        faults: list[Fault] = []
        for index, row in enumerate(rows):
            if not isinstance(row, dict):
                faults.append(Fault("rows", "an object of sensor readings", _said(row), index))
                continue
            for name, value in row.items():
                column = self._column.get(name)
                if column is None:
                    faults.append(self._unknown_sensor(name, index))
                elif value is not None:
                    if type(value) in (float, int) and -FLOAT32_MAX <= value <= FLOAT32_MAX:
                        out[index, column] = value
                    else:
                        faults.append(Fault(name, "a finite number or null", _said(value), index))
            if len(faults) >= FAULTS_SHOWN:
                break
        if faults:
            raise InvalidRequest(*faults[:FAULTS_SHOWN])
        return out

    def _from_columns(self, columns: Any, limit: int) -> Rows:
        if not isinstance(columns, dict):
            raise InvalidRequest(
                Fault("columns", "an object of lists, one per sensor", _said(columns))
            )
        length: int | None = None
        faults: list[Fault] = []
        for name, values in columns.items():
            if name not in self._column:
                faults.append(self._unknown_sensor(name, None))
            elif not isinstance(values, list):
                faults.append(Fault(name, "a list of readings", _said(values)))
            elif length is not None and len(values) != length:
                faults.append(
                    Fault(name, f"{length} readings, as in the columns before it", f"{len(values)}")
                )
            else:
                length = len(values)
        if faults:
            raise InvalidRequest(*faults[:FAULTS_SHOWN])
        self._bounded("columns", length or 0, limit)
        out = np.full((length or 0, len(self.sensors)), np.nan, np.float32)
        for name, values in columns.items():
            column = self._column[name]
            for index, value in enumerate(values):
                if value is None:
                    continue
                if type(value) in (float, int) and -FLOAT32_MAX <= value <= FLOAT32_MAX:
                    out[index, column] = value
                else:
                    faults.append(Fault(name, "a finite number or null", _said(value), index))
                    if len(faults) == FAULTS_SHOWN:
                        raise InvalidRequest(*faults)
        if faults:
            raise InvalidRequest(*faults)
        return out

    def _ranged(self, raw: Rows) -> Readings:
        missing = int(np.isnan(raw).sum())
        outside = (raw < self._low) | (raw > self._high)
        count = int(outside.sum())
        if count == 0:
            return Readings(raw, raw, missing, 0)
        rejected = outside & self._reject
        if rejected.any():
            raise InvalidRequest(
                *(
                    Fault(
                        self.sensors[c].name,
                        f"a reading in [{self.sensors[c].low:g}, {self.sensors[c].high:g}]"
                        f"{' ' + self.sensors[c].unit if self.sensors[c].unit else ''}",
                        f"{raw[r, c]:g}",
                        int(r),
                    )
                    for r, c in np.argwhere(rejected)[:FAULTS_SHOWN]
                )
            )
        clipped = np.clip(raw, self._low, self._high)
        rows = np.where(outside, np.where(self._clip, clipped, np.float32(np.nan)), raw)
        return Readings(rows.astype(np.float32), raw, missing, count)

    def _unknown_sensor(self, name: Any, row: int | None) -> Fault:
        known = _few([s.name for s in self.sensors])
        return Fault(str(name)[:80], f"one of the sensors {known}", "an unknown sensor", row)

    @staticmethod
    def _bounded(field: str, rows: int, limit: int) -> None:
        if rows == 0:
            raise InvalidRequest(Fault(field, "at least one row", "none"))
        if rows > limit:
            raise TooLarge(Fault(field, f"at most {limit} rows", f"{rows}"))


def _few(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"


def _said(value: Any) -> str:
    """What was found, short enough to be read."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN (a missing reading is null)" if math.isnan(value) else "infinity"
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
