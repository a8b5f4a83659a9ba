"""A file's rows as a line would send them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from service.errors import ConfigurationError
from service.tables.columns import is_missing, numbers, times
from service.tables.reading import File


@dataclass(frozen=True)
class Part:
    """Consecutive rows: where they begin, their columns by sensor, their labels, and the time of
    the last of them in ISO 8601, if the file has one."""

    start: int
    columns: dict[str, list[float | None]]
    labels: list[str | None]
    observed_at: str | None


@dataclass(frozen=True)
class Sendable:
    """What of a file a model takes."""

    columns: dict[str, list[float | None]]
    labels: list[str | None]
    when: list[datetime | None] | None

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
                self._observed(at, end),
            )

    def _observed(self, at: int, end: int) -> str | None:
        if self.when is None:
            return None
        last = next((w for w in reversed(self.when[at:end]) if w is not None), None)
        return None if last is None or last.tzinfo is None else last.isoformat()


def sendable(
    file: File,
    target: str,
    sensors: Sequence[str],
    classes: Sequence[str],
    zone: tzinfo | None = None,
) -> Sendable:
    """A file for a model with these sensors and classes; ``zone`` is that of times without one.

    Raises
    ------
    ConfigurationError
        A sensor is no column or no numbers, or a label is none of the classes.
    """
    columns = {}
    for sensor in sensors:
        read = numbers(file.column(sensor))
        if read is None:
            raise ConfigurationError(f"{sensor}: expected a column of numbers, found text")
        columns[sensor] = [None if math.isnan(v) else v for v in read.values.tolist()]
    labels = [None if is_missing(cell) else cell for cell in file.column(target)]
    unknown = {label for label in labels if label is not None} - set(classes)
    if unknown:
        raise ConfigurationError(
            f"{target}: expected one of the classes {list(classes)}, found {sorted(unknown)[:5]}"
        )
    return Sendable(columns, labels, _times(file, {target, *sensors}, zone))


def _times(file: File, others: set[str], zone: tzinfo | None) -> list[datetime | None] | None:
    """The first column of times, in a zone."""
    for name, cells in zip(file.names, file.columns, strict=True):
        if name in others:
            continue
        found = times(cells)
        if found is not None:
            return [w.replace(tzinfo=zone) if w and w.tzinfo is None else w for w in found]
    return None
