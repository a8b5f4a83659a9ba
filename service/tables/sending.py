"""A file's rows as a line would send them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from service.errors import ConfigurationError
from service.tables.columns import is_missing, numbers, times
from service.tables.reading import File

Readings = list[float | str | None]
"""Of one sensor, row by row; texts of a category."""


@dataclass(frozen=True)
class Part:
    """Consecutive rows: where they begin, their columns by sensor, their labels, and the time of
    the last of them, if the file has one: in ISO 8601 where it has a zone, and in unix seconds, as
    if it were UTC where it has none."""

    start: int
    columns: dict[str, Readings]
    labels: list[str | None]
    observed_at: str | None
    at: float | None = None


@dataclass(frozen=True)
class Sendable:
    """What of a file a model takes; ``doubts`` is what a person should know of it."""

    columns: dict[str, Readings]
    labels: list[str | None]
    when: list[datetime | None] | None
    doubts: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.labels)

    def parts(self, start: int, size: int) -> Iterator[Part]:
        """From a row on, so many rows at once."""
        for at in range(start, self.rows, size):
            end = at + size
            yield Part(
                at,
                {name: values[at:end] for name, values in self.columns.items()},
                self.labels[at:end],
                *self._observed(at, end),
            )

    def _observed(self, at: int, end: int) -> tuple[str | None, float | None]:
        last = next((w for w in reversed((self.when or [])[at:end]) if w is not None), None)
        if last is None:
            return None, None
        if last.tzinfo is None:
            return None, last.replace(tzinfo=UTC).timestamp()
        return last.isoformat(), last.timestamp()


def sendable(
    file: File,
    target: str | None,
    sensors: Sequence[str],
    classes: Sequence[str],
    zone: tzinfo | None = None,
    values: Mapping[str, Sequence[str]] | None = None,
) -> Sendable:
    """A file for a model with these sensors and classes, and the ``values`` of those that are
    categories; ``target`` None: its rows have no labels; ``zone`` is that of times without one.

    Raises
    ------
    ConfigurationError
        A sensor is no column or no numbers, or a label is none of the classes.
    """
    columns: dict[str, Readings] = {}
    doubts = []
    for sensor in sensors:
        known = (values or {}).get(sensor)
        if known:
            cells = file.column(sensor)
            columns[sensor] = [c if c in known or not is_missing(c) else None for c in cells]
            odd = sorted({c for c in columns[sensor] if c is not None} - {*known})
            if odd:
                doubts.append(f"{sensor}: {odd[:5]} are none of its values, and count as missing")
            continue
        read = numbers(file.column(sensor))
        if read is None:
            raise ConfigurationError(f"{sensor}: expected a column of numbers, found text")
        columns[sensor] = [None if math.isnan(v) else v for v in read.values.tolist()]
    told = [""] * file.rows if target is None else file.column(target)
    labels = [None if is_missing(cell) else cell for cell in told]
    unknown = {label for label in labels if label is not None} - set(classes)
    if unknown:
        raise ConfigurationError(
            f"{target}: expected one of the classes {list(classes)}, found {sorted(unknown)[:5]}"
        )
    return Sendable(columns, labels, _times(file, {target or "", *sensors}, zone), doubts)


def late(
    rows: File, labels: File, key: str, target: str, size: int, classes: Sequence[str]
) -> Iterator[tuple[int, list[str | None]]]:
    """Labels that stand in a second file, by a key that both have, in its order: where the batch of
    ``size`` rows begins that holds the row, and that batch's labels, None for other rows.

    Raises
    ------
    ConfigurationError
        A column is missing, a key stands twice, or a label is none of the classes.
    """
    places: dict[str, int] = {}
    for place, cell in enumerate(rows.column(key)):
        if places.setdefault(cell, place) != place:
            raise ConfigurationError(f"{key}: expected each key once, found {cell!r} twice")
    told = labels.column(target)
    batch: tuple[int, list[str | None]] | None = None
    for cell, label in zip(labels.column(key), told, strict=True):
        if cell not in places or is_missing(label):
            continue
        place = places[cell]
        if label not in classes:
            raise ConfigurationError(
                f"{target}: expected one of the classes {list(classes)}, found {label!r}"
            )
        start = place // size * size
        if batch is None or batch[0] != start:
            if batch is not None:
                yield batch
            batch = start, [None] * (min(start + size, rows.rows) - start)
        batch[1][place - start] = label
    if batch is not None:
        yield batch


def _times(file: File, others: set[str], zone: tzinfo | None) -> list[datetime | None] | None:
    """The first column of times, in a zone."""
    for name, cells in zip(file.names, file.columns, strict=True):
        if name in others:
            continue
        found = times(cells)
        if found is not None:
            return [w.replace(tzinfo=zone) if w and w.tzinfo is None else w for w in found]
    return None
