"""Events as lines of JSON, for those who replay or read a log without this program."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from model_store.durable import whole
from model_store.log.records import Record
from service.errors import ConfigurationError
from service.history.lessons import Lesson
from service.history.verbs import TEACHING, Order
from service.rows import UNKNOWN


def write_lines(path: Path, records: Iterable[Record], values: Sequence[Sequence[str]] = ()) -> int:
    """Write each event as one line of JSON; the number of them. ``path`` appears whole or not at
    all; ``values`` as in `line_of`. Raises OSError, ConfigurationError."""
    written = 0
    with whole(path) as partial, partial.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(
                json.dumps(line_of(record, values), ensure_ascii=False, allow_nan=False) + "\n"
            )
            written += 1
    return written


def line_of(record: Record, values: Sequence[Sequence[str]] = ()) -> dict[str, Any]:
    """What an event's line says: ``rows`` (B, n) in the sensors' units and ``labels`` (B,) class
    indices, null where there is none, or a verb's values and the ``snapshot`` that it names.

    ``values`` are those of each sensor, none of one that measures: a category's reading is written
    as its value. Raises ConfigurationError where there is no such value.
    """
    said = {
        "seq": record.seq,
        "kind": record.kind,
        "received_at": record.received_at,
        "observed_at": record.observed_at,
        "batch_id": record.batch_id,
        "line": record.line,
        "actor": record.actor,
        "reason": record.reason,
        "snapshot": record.snapshot,
    }
    said = {key: value for key, value in said.items() if value is not None}
    if record.kind in TEACHING:
        lesson = Lesson.from_bytes(record.payload)
        labels = [None if label == UNKNOWN else label for label in lesson.taught.tolist()]
        if lesson.trace is not None:
            said["trace"] = lesson.trace
        rows = _named(record.seq, _finite(lesson.rows), values)
        return {**said, "rows": rows, "labels": labels}
    return {**said, **Order.from_record(record).verb.values()}


def _named(
    seq: int, rows: list[list[float | None]], values: Sequence[Sequence[str]]
) -> Sequence[list[float | str | None]]:
    listed = [(column, known) for column, known in enumerate(values) if known]
    found: list[list[float | str | None]] = [[*row] for row in rows]
    for row, numbers in zip(found, rows, strict=True):
        for column, known in listed:
            index = numbers[column]
            if index is not None and index >= len(known):
                raise ConfigurationError(
                    f"event {seq}: expected the value of sensor {column} to be one of the "
                    f"configuration's {len(known)}, found number {index:g}"
                )
            row[column] = None if index is None else known[int(index)]
    return found


def _finite(rows: NDArray[Any]) -> list[list[float | None]]:
    # A float32 is a double too, so its shortest decimal gives the same float32 again.
    return [[value if math.isfinite(value) else None for value in row] for row in rows.tolist()]
