"""What a file's columns mean for a model, and what of them will hurt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from service.errors import ConfigurationError
from service.tables.columns import (
    Numbers,
    codes,
    is_missing,
    numbers,
    says_nothing,
    texts,
    times,
)
from service.tables.reading import File

HEADROOM = 0.25
"""Of what readings span, on both sides: what was not seen yet is no fault of a sensor."""

MOST_CLASSES = 50
RARE = 0.005
FEWEST = 20
"""A class with fewer rows, or a smaller part of them, is rare."""

LONG_BLOCK = 50
"""Mean rows of one label in a row from which on labels come in blocks."""

LAGS = range(-3, 4)
ALIKE = 0.999
MANY_DISTINCT = 20


@dataclass(frozen=True)
class Sensor:
    """One feature to be: ``low`` and ``high`` of its range, and a sentence on why; or ``values`` of
    a category, whose numbers are their indices."""

    name: str
    low: float
    high: float
    why: str
    numbers: Numbers
    values: tuple[str, ...] = ()


@dataclass
class Described:
    """Of a file: sensors, classes with their counts, the time column if there is one, columns left
    out with why, and warnings."""

    target: str
    classes: dict[str, int]
    sensors: list[Sensor] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    time: str | None = None
    when: list[datetime | None] | None = None
    warnings: list[str] = field(default_factory=list)


def describe(file: File, target: str) -> Described:
    """Tell sensors, time and classes of a file apart.

    Raises
    ------
    ConfigurationError
        The target is no column, has fewer than two classes or too many, or no sensor is left.
    """
    labels = file.column(target)
    found = Described(target, _classes(target, labels))
    for name, cells in zip(file.names, file.columns, strict=True):
        if name != target:
            _column(found, name, cells, labels)
    if not found.sensors:
        raise ConfigurationError(
            f"expected at least one column of readings beside {target!r}, found none: "
            + "; ".join(f"{name}: {why}" for name, why in found.left_out.items())
        )
    found.warnings += _of_labels(labels)
    if found.when is not None and found.time is not None:
        found.warnings += _of_times(found.time, found.when)
    found.warnings += _of_rows(found)
    return found


def _classes(target: str, labels: Sequence[str]) -> dict[str, int]:
    counts = Counter(label for label in labels if not is_missing(label))
    if len(counts) < 2:
        raise ConfigurationError(
            f"--target {target}: expected at least two classes, found {sorted(counts)}"
        )
    if len(counts) > MOST_CLASSES:
        raise ConfigurationError(
            f"--target {target}: expected at most {MOST_CLASSES} classes, found {len(counts)} "
            "distinct values. A measured quantity cannot be predicted yet: make classes of it, "
            "such as ok and worn"
        )
    return dict(counts.most_common())


def _column(found: Described, name: str, cells: Sequence[str], labels: Sequence[str]) -> None:
    if all(map(says_nothing, cells)):
        found.left_out[name] = "it is empty"
        return
    read = numbers(cells) if not all(map(is_missing, cells)) else None
    if read is None:
        when = times(cells)
        if when is not None and found.time is None:
            found.time, found.when = name, when
            found.left_out[name] = "it is the time, which tells nothing that comes again"
        elif when is not None:
            found.left_out[name] = "it is a second time"
        else:
            _category(found, name, cells, labels)
        return
    values = read.values
    distinct = np.unique(values[~np.isnan(values)])
    if len(distinct) < 2:
        found.left_out[name] = f"it is always {distinct[0]:g}" if len(distinct) else "it is empty"
        return
    if _counts_up(values):
        found.left_out[name] = "it counts the rows: a number or a time, no reading"
        return
    if not _leaks(found, name, values, labels):
        found.sensors.append(_sensor(found, name, read))


def _category(found: Described, name: str, cells: Sequence[str], labels: Sequence[str]) -> None:
    read = texts(cells)
    if isinstance(read, str):
        found.left_out[name] = f"it is {read}"
        return
    if _leaks(found, name, read.indices, labels):
        return
    _missing(found, name, read.indices, read.odd, "none of the values that come again")
    values = tuple(read.values)
    why = ", ".join(f"{value}: {count} rows" for value, count in read.values.items())
    kept = Numbers(read.indices, False, read.odd)
    found.sensors.append(Sensor(name, 0.0, len(values) - 1.0, why, kept, values))


def _leaks(found: Described, name: str, values: NDArray[np.float64], labels: Sequence[str]) -> bool:
    leak = _leak(values, labels)
    if leak is None:
        return False
    found.left_out[name] = leak
    found.warnings.append(f"{name}: {leak}; put it back if it is known before the label")
    return True


def _missing(
    found: Described, name: str, values: NDArray[np.float64], odd: int, instead: str
) -> None:
    missing = float(np.isnan(values).mean())
    if missing > 0.2:
        found.warnings.append(f"{name}: {missing:.0%} of the readings are missing")
    if odd:
        found.warnings.append(f"{name}: {odd} cells are {instead}, and count as missing")


def _sensor(found: Described, name: str, read: Numbers) -> Sensor:
    values = read.values
    wrong = codes(values)
    known = values[~np.isnan(values) & ~np.isin(values, wrong)]
    low, high = float(known.min()), float(known.max())
    why = f"{low:g} to {high:g} in the file"
    if wrong:
        times_ = [int((values == code).sum()) for code in wrong]
        said = ", ".join(f"{c:g} ({n} times)" for c, n in zip(wrong, times_, strict=True))
        why += f"; without {said}, which is taken for an error code"
        found.warnings.append(f"{name}: {said} is taken for an error code, and counts as missing")
    _missing(found, name, values, read.odd, "no numbers")
    span = max(high - low, abs(high) * 1e-3, abs(low) * 1e-3, 1e-6)
    return Sensor(name, low - HEADROOM * span, high + HEADROOM * span, why, read)


def _counts_up(values: NDArray[np.float64]) -> bool:
    """Whether it only ever goes up, and takes a new value with almost every row."""
    known = values[~np.isnan(values)]
    if len(known) < MANY_DISTINCT:
        return False
    steps = np.diff(known)
    return bool((steps >= 0).all() and (steps > 0).mean() > 0.99)


def _leak(values: NDArray[np.float64], labels: Sequence[str]) -> str | None:
    """Why a column tells the label itself; None where it does not."""
    distinct = np.unique(values[~np.isnan(values)])
    if len(distinct) > MANY_DISTINCT:
        return None
    index = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    told = np.array([index[label] for label in labels], np.float64)
    runs = 1 + int((told[1:] != told[:-1]).sum())
    for lag in sorted(LAGS, key=abs):
        a = values[max(0, lag) : len(values) + min(0, lag)]
        b = told[max(0, -lag) : len(told) + min(0, -lag)]
        both = ~np.isnan(a)
        if both.sum() < MANY_DISTINCT or len(np.unique(b[both])) < 2:
            continue
        agree = sum(
            Counter(b[both & (a == value)].tolist()).most_common(1)[0][1]
            for value in np.unique(a[both])
        )
        # In long blocks a shifted label agrees anyhow; then all but the ends must.
        if agree / both.sum() >= max(ALIKE, 1 - 0.2 * runs / len(told)):
            where = "" if lag == 0 else f", {abs(lag)} rows {'later' if lag > 0 else 'earlier'}"
            return f"it is the label itself in other words{where}"
    return None


def _of_labels(labels: Sequence[str]) -> list[str]:
    said = []
    known = [label for label in labels if not is_missing(label)]
    counts = Counter(known)
    for label, count in counts.items():
        if count < FEWEST or count < RARE * len(known):
            said.append(
                f"class {label!r} has {count} of {len(known)} rows: it is learned slowly, and "
                "found by chance; class_weights above 1 for it help"
            )
    block = len(known) / max(1, sum(1 for _ in groupby(known)))
    if block > LONG_BLOCK:
        said.append(
            f"labels come in blocks of {block:.0f} rows on the mean: saying the last label again "
            "is right almost always, so look at kappa_temporal, not at accuracy"
        )
    if len(known) < len(labels):
        said.append(f"{len(labels) - len(known)} rows have no label: they are predicted alone")
    return said


def _of_times(name: str, when: Sequence[datetime | None]) -> list[str]:
    said = []
    known = [at for at in when if at is not None]
    zones = {at.tzinfo is not None for at in known}
    if zones == {True, False}:
        return [f"{name}: some times say their zone, and others do not"]
    steps = [(b - a).total_seconds() for a, b in pairwise(known)]
    back = sum(step < 0 for step in steps)
    same = sum(step == 0 for step in steps)
    usual = float(np.median(steps)) if steps else 0.0
    gaps = sum(step > max(10 * usual, 60) for step in steps)
    hours = sum(abs(step + 3600 - usual) < 1 for step in steps if step < 0)
    if back:
        hint = ", by an hour as at the end of summer time" if hours else ""
        said.append(f"{name}: goes back {back} times{hint}: rows are sent as they stand")
    if same:
        said.append(f"{name}: {same} rows have the time of the row before")
    if gaps:
        said.append(f"{name}: {gaps} gaps of more than {max(10 * usual, 60):.0f} s")
    if zones == {False}:
        said.append(f"{name}: times say no zone; `apical send --zone Asia/Tokyo` tells it")
    return said


def _of_rows(found: Described) -> list[str]:
    rows = np.column_stack([sensor.numbers.values for sensor in found.sensors])
    same = (rows[1:] == rows[:-1]) | (np.isnan(rows[1:]) & np.isnan(rows[:-1]))
    repeated = float(same.all(axis=1).mean()) if len(rows) > 1 else 0.0
    if repeated > 0.1:
        return [f"{repeated:.0%} of the rows are those before again: do sensors stand still?"]
    return []
