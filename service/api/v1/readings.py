"""The one place where the rows and labels of a JSON body are checked and made into arrays."""

from __future__ import annotations

import itertools
import math
import struct
import sys
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.api.faults import bounded, few, said, unknown_sensor
from service.api.v1.columns import Columns
from service.errors import Fault, InvalidRequest
from service.rows import UNKNOWN, Labels
from service.schema import FAULTS_SHOWN, UNLISTED, Readings, Schema

FLOAT64_MAX = sys.float_info.max
NUMBER = "a finite number or null"

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
                read = _reading(schema, column, value)
                if read is None:
                    faults.append(_wrong(schema, column, value, index))
                else:
                    out[index, column] = read
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
        if set(map(len, rows)) != {width}:
            return None
        pieces: Sequence[Sequence[Any]] = [schema.in_order(row) for row in rows]
        if schema.categories:
            columns = list(zip(*pieces, strict=True))
            for column in schema.categories:
                columns[column] = _indices(schema, column, columns[column])
            pieces = list(zip(*columns, strict=True))
        return _numbers(pieces)
    except (KeyError, TypeError):
        return None


def _indices(schema: Schema, column: int, values: Sequence[Any]) -> tuple[float | None, ...]:
    """Of a category's values; raises TypeError for what has to be looked at one by one."""
    index = schema.categories[column]
    found = tuple([index.get(value, UNLISTED) for value in values])
    if UNLISTED in found:
        odd = {type(v) for v, at in zip(values, found, strict=True) if at == UNLISTED}
        if odd != {str} or schema.sensors[column].out_of_range == "reject":
            raise TypeError
    return found


def _reading(schema: Schema, column: int, value: Any) -> float | None:
    """One reading that is no null; None of what its sensor cannot say."""
    index = schema.categories.get(column)
    if index is None:
        good = type(value) in (float, int) and -FLOAT64_MAX <= value <= FLOAT64_MAX
        return value if good else None
    if type(value) is not str:
        return None
    if value not in index:
        return None if schema.sensors[column].out_of_range == "reject" else UNLISTED
    found = index[value]
    return math.nan if found is None else found


def _wrong(schema: Schema, column: int, value: Any, row: int) -> Fault:
    sensor = schema.sensors[column]
    expected = f"one of {few(sensor.values)}, or null" if sensor.values else NUMBER
    return Fault(sensor.name, expected, said(value), row)


def _numbers(pieces: Sequence[Sequence[Any]]) -> Sent | None:
    """Sequences of equal length that hold finite numbers and nulls, as rows of an array; None where
    anything else is among them. No Python code runs for each of the values."""
    pack = struct.Struct(f"{len(pieces[0])}d").pack
    try:
        data = b"".join([pack(*piece) for piece in pieces])
    except (struct.error, OverflowError):
        return _with_nulls(pieces)
    found = np.frombuffer(data).reshape(len(pieces), -1)
    if np.count_nonzero(np.isfinite(found)) != found.size:
        return None
    # A flag is packed as 0 or 1, which are what equals its own truth.
    perhaps = found == (found != 0)
    if np.count_nonzero(perhaps):
        flags = (type(pieces[r][c]) is bool for r, c in np.argwhere(perhaps))
        return None if any(flags) else found
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
    if isinstance(columns, Columns):
        places = [schema.column(name) for name in columns.names]
        if None not in places and schema.categories.keys().isdisjoint(places):
            return _placed(schema, places, columns.numbers, limit)
        columns = columns.lists()
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
    found = _whole_columns(schema, columns)
    if found is not None:
        return _placed(schema, [schema.column(name) for name in columns], found, limit)
    out = np.full((length or 0, len(schema.sensors)), np.nan)
    for name, values in columns.items():
        column = schema.column(name)
        assert column is not None
        for index, value in enumerate(values):
            if value is None:
                continue
            read = _reading(schema, column, value)
            if read is None:
                faults.append(_wrong(schema, column, value, index))
                if len(faults) == FAULTS_SHOWN:
                    raise InvalidRequest(*faults)
            else:
                out[index, column] = read
    if faults:
        raise InvalidRequest(*faults)
    return out


def _placed(schema: Schema, places: Sequence[int | None], columns: Sent, limit: int) -> Sent:
    """Columns as rows (n, B) of an array, each where its sensor stands."""
    bounded("columns", columns.shape[1], limit)
    out = np.full((columns.shape[1], len(schema.sensors)), np.nan)
    out[:, np.array(places, np.intp)] = columns.T
    return out


def _whole_columns(schema: Schema, columns: Mapping[str, list[Any]]) -> Sent | None:
    """Columns as rows of an array, as `_numbers`."""
    pieces: list[Sequence[Any]] = list(columns.values())
    try:
        for place, name in enumerate(columns if schema.categories else ()):
            column = schema.column(name)
            if column in schema.categories:
                pieces[place] = _indices(schema, column, pieces[place])
    except TypeError:
        return None
    return _numbers(pieces)
