"""The one place where the rows and labels of a JSON body are checked and made into arrays."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import Fault, InvalidRequest, TooLarge
from service.rows import UNKNOWN, Labels
from service.schema import FAULTS_SHOWN, Readings, Schema

FLOAT64_MAX = sys.float_info.max

Sent = NDArray[np.float64]
"""(B, n) readings as sent, NaN where missing."""


def readings(schema: Schema, body: Mapping[str, Any], limit: int) -> Readings:
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
        _from_rows(schema, body["rows"], limit)
        if has_rows
        else _from_columns(schema, body["columns"], limit)
    )
    return schema.ranged(matrix)


def labels(schema: Schema, value: Any, rows: int, *, required: bool = False) -> Labels | None:
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
        index = schema.class_index(label) if isinstance(label, str) else None
        if index is None:
            expected = f"null or one of {_few(schema.classes)}"
            faults.append(Fault("labels", expected, _said(label), row))
            if len(faults) == FAULTS_SHOWN:
                break
        else:
            out[row] = index
    if faults:
        raise InvalidRequest(*faults)
    return out if (out != UNKNOWN).any() else None


def _from_rows(schema: Schema, rows: Any, limit: int) -> Sent:
    if not isinstance(rows, list):
        raise InvalidRequest(Fault("rows", "a list of objects", _said(rows)))
    _bounded("rows", len(rows), limit)
    out = np.full((len(rows), len(schema.sensors)), np.nan)
    faults: list[Fault] = []
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            faults.append(Fault("rows", "an object of sensor readings", _said(row), index))
            continue
        for name, value in row.items():
            column = schema.column(name)
            if column is None:
                faults.append(_unknown_sensor(schema, name, index))
            elif value is not None:
                if type(value) in (float, int) and -FLOAT64_MAX <= value <= FLOAT64_MAX:
                    out[index, column] = value
                else:
                    faults.append(Fault(name, "a finite number or null", _said(value), index))
        if len(faults) >= FAULTS_SHOWN:
            break
    if faults:
        raise InvalidRequest(*faults[:FAULTS_SHOWN])
    return out


def _from_columns(schema: Schema, columns: Any, limit: int) -> Sent:
    if not isinstance(columns, dict):
        raise InvalidRequest(Fault("columns", "an object of lists, one per sensor", _said(columns)))
    length: int | None = None
    faults: list[Fault] = []
    for name, values in columns.items():
        if schema.column(name) is None:
            faults.append(_unknown_sensor(schema, name, None))
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
    _bounded("columns", length or 0, limit)
    out = np.full((length or 0, len(schema.sensors)), np.nan)
    for name, values in columns.items():
        column = schema.column(name)
        assert column is not None
        for index, value in enumerate(values):
            if value is None:
                continue
            if type(value) in (float, int) and -FLOAT64_MAX <= value <= FLOAT64_MAX:
                out[index, column] = value
            else:
                faults.append(Fault(name, "a finite number or null", _said(value), index))
                if len(faults) == FAULTS_SHOWN:
                    raise InvalidRequest(*faults)
    if faults:
        raise InvalidRequest(*faults)
    return out


def _unknown_sensor(schema: Schema, name: Any, row: int | None) -> Fault:
    known = _few([s.name for s in schema.sensors])
    return Fault(str(name)[:80], f"one of the sensors {known}", "an unknown sensor", row)


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
