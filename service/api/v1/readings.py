"""The one place where the rows and labels of a JSON body are checked and made into arrays."""

from __future__ import annotations

import itertools
import struct
import sys
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.api.faults import bounded, few, said, unknown_sensor
from service.errors import Fault, InvalidRequest
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
        raise InvalidRequest(Fault("labels", "a list of class names or nulls", said(value)))
    if len(value) != rows:
        raise InvalidRequest(Fault("labels", f"{rows} labels, one per row", f"{len(value)}"))
    out = np.full(rows, UNKNOWN, np.int64)
    faults = []
    for row, label in enumerate(value):
        if label is None:
            continue
        index = schema.class_index(label) if isinstance(label, str) else None
        if index is None:
            expected = f"null or one of {few(schema.classes)}"
            faults.append(Fault("labels", expected, said(label), row))
            if len(faults) == FAULTS_SHOWN:
                break
        else:
            out[row] = index
    if faults:
        raise InvalidRequest(*faults)
    return out if (out != UNKNOWN).any() else None


def _from_rows(schema: Schema, rows: Any, limit: int) -> Sent:
    if not isinstance(rows, list):
        raise InvalidRequest(Fault("rows", "a list of objects", said(rows)))
    bounded("rows", len(rows), limit)
    found = _whole_rows(schema, rows)
    if found is not None:
        return found
    out = np.full((len(rows), len(schema.sensors)), np.nan)
    faults: list[Fault] = []
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            faults.append(Fault("rows", "an object of sensor readings", said(row), index))
            continue
        for name, value in row.items():
            column = schema.column(name)
            if column is None:
                faults.append(unknown_sensor(schema, name, index))
            elif value is not None:
                if type(value) in (float, int) and -FLOAT64_MAX <= value <= FLOAT64_MAX:
                    out[index, column] = value
                else:
                    faults.append(Fault(name, "a finite number or null", said(value), index))
        if len(faults) >= FAULTS_SHOWN:
            break
    if faults:
        raise InvalidRequest(*faults[:FAULTS_SHOWN])
    return out


def _whole_rows(schema: Schema, rows: list[Any]) -> Sent | None:
    """Rows of which each has every sensor, and nothing else; None of others, which are looked at
    reading by reading, as faults have to be."""
    width = len(schema.sensors)
    try:
        if not all(len(row) == width for row in rows):
            return None
        return _numbers([schema.in_order(row) for row in rows])
    except (KeyError, TypeError):
        return None


def _numbers(pieces: Sequence[Sequence[Any]]) -> Sent | None:
    """Sequences of equal length that hold finite numbers and nulls, as rows of an array; None where
    anything else is among them. No Python code runs for each of the values."""
    pack = struct.Struct(f"{len(pieces[0])}d").pack
    try:
        data = b"".join([pack(*piece) for piece in pieces])
    except (struct.error, OverflowError):
        return _with_nulls(pieces)
    found = np.frombuffer(data).reshape(len(pieces), -1)
    if not np.isfinite(found).all():
        return None
    # A flag is packed as 0 or 1.
    perhaps = (found == 0) | (found == 1)
    if perhaps.any() and any(type(pieces[r][c]) is bool for r, c in np.argwhere(perhaps)):
        return None
    return found


def _with_nulls(pieces: Sequence[Sequence[Any]]) -> Sent | None:
    values = list(itertools.chain.from_iterable(pieces))
    if not set(map(type, values)) <= {float, int, NoneType}:
        return None
    try:
        found = np.array(values, np.float64)
    except OverflowError:
        return None
    # What is not finite must be the nulls, which are NaN here.
    nulls = values.count(None)
    if np.count_nonzero(np.isfinite(found)) != len(values) - nulls:
        return None
    return found.reshape(len(pieces), -1)


def _from_columns(schema: Schema, columns: Any, limit: int) -> Sent:
    if not isinstance(columns, dict):
        raise InvalidRequest(Fault("columns", "an object of lists, one per sensor", said(columns)))
    length: int | None = None
    faults: list[Fault] = []
    for name, values in columns.items():
        if schema.column(name) is None:
            faults.append(unknown_sensor(schema, name, None))
        elif not isinstance(values, list):
            faults.append(Fault(name, "a list of readings", said(values)))
        elif length is not None and len(values) != length:
            faults.append(
                Fault(name, f"{length} readings, as in the columns before it", f"{len(values)}")
            )
        else:
            length = len(values)
    if faults:
        raise InvalidRequest(*faults[:FAULTS_SHOWN])
    bounded("columns", length or 0, limit)
    assert length is not None
    found = _numbers(list(columns.values()))
    if found is not None:
        out = np.full((length, len(schema.sensors)), np.nan)
        out[:, np.array([schema.column(name) for name in columns], np.intp)] = found.T
        return out
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
                faults.append(Fault(name, "a finite number or null", said(value), index))
                if len(faults) == FAULTS_SHOWN:
                    raise InvalidRequest(*faults)
    if faults:
        raise InvalidRequest(*faults)
    return out
