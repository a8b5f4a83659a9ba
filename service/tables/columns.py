"""What a column of text is: numbers, times, names of classes, or something else."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

MISSING = {
    "", "-", "--", "?", ".", "nan", "na", "n/a", "#n/a", "#na", "null", "none", "nil", "bad",
    "error", "#error", "#value!", "#div/0!", "i/o timeout", "no data", "nodata", "inf", "-inf",
    "infinity", "-infinity", "欠測", "異常", "－",
}  # fmt: skip
"""What stands where a sensor had nothing to say, in small letters."""

SAID = {"bad", "error", "none"}
"""Of these words, those that a column of texts may well mean."""

WORDS = {
    "true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "on": 1.0, "off": 0.0, "ein": 1.0,
    "aus": 0.0, "open": 1.0, "closed": 0.0,
}  # fmt: skip

MOSTLY = 0.95
"""Part of the cells that are not missing which must be of a kind for the column to be of it."""

TIMES = (
    "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M",
    "%Y-%m-%d %H:%M", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%Y%m%d%H%M%S",
)  # fmt: skip
COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
GROUPED = re.compile(r"[+-]?\d{1,3}(\.\d{3})+(,\d+)?")
GROUPED_ENGLISH = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
MOST_VALUES = 32
"""Of a column of texts that is a category."""

VALUE_ROWS, VALUE_RUNS = 5, 2
"""A value is one that recurs where it stands in so many rows, and in so many places apart."""

LONGEST_VALUE = 128
CODES = {32767.0, 32768.0, -32768.0, 65535.0, 2147483647.0, -2147483648.0, 4294967295.0}
CODE_TIMES = 3
"""A value that is far outside, and stands there so often, is an error code."""

APART = 0.3
"""How far outside: as part of what the others span."""


@dataclass
class Numbers:
    """A column of numbers (rows,), NaN where there is none, and how many cells were neither."""

    values: NDArray[np.float64]
    comma: bool
    odd: int


@dataclass
class Texts:
    """A column of texts: its values with their rows, the index of each cell's (rows,), NaN where it
    is missing or none of them, and how many cells are none of them."""

    values: dict[str, int]
    indices: NDArray[np.float64]
    odd: int


def is_missing(cell: str) -> bool:
    return cell.strip().lower() in MISSING


def numbers(cells: Sequence[str], comma: bool | None = None) -> Numbers | None:
    """The column as numbers; None where it is not mostly that. ``comma``: decimals are written by a
    comma; None finds that out."""
    known = [cell for cell in cells if not is_missing(cell)]
    if comma is None:
        comma = any(COMMA.fullmatch(c) and not GROUPED_ENGLISH.fullmatch(c) for c in known) or any(
            GROUPED.fullmatch(c) and "," in c for c in known
        )
    values = np.full(len(cells), np.nan)
    odd = 0
    for place, cell in enumerate(cells):
        if is_missing(cell):
            continue
        found = number(cell, comma)
        if found is None:
            odd += 1
        else:
            values[place] = found
    if known and odd > (1 - MOSTLY) * len(known):
        return None
    return Numbers(values, comma, odd)


def number(cell: str, comma: bool) -> float | None:
    """One cell as a number; None for one that is none."""
    word = WORDS.get(cell.lower())
    if word is not None:
        return word
    text = cell
    if comma:
        text = (
            cell.replace(".", "").replace(",", ".")
            if GROUPED.fullmatch(cell)
            else (cell.replace(",", "."))
        )
    elif GROUPED_ENGLISH.fullmatch(cell):
        text = cell.replace(",", "")
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def says_nothing(cell: str) -> bool:
    """`is_missing` in a column of texts."""
    return is_missing(cell) and cell.lower() not in SAID


def texts(cells: Sequence[str]) -> Texts | str:
    """The column as a category; why not, of one that is none: names of parts and lots come once,
    free text hardly twice."""
    rows, runs = Counter[str](), Counter[str]()
    before = None
    for cell in cells:
        if says_nothing(cell):
            continue
        rows[cell] += 1
        runs[cell] += cell != before
        before = cell
    such = f"text, such as {next(iter(rows), '')[:40]!r}"
    if len(rows) == 1:
        return f"always {next(iter(rows))[:40]!r}"
    recurring = {
        cell: count
        for cell, count in sorted(rows.items())
        if count >= VALUE_ROWS and runs[cell] >= VALUE_RUNS and len(cell) <= LONGEST_VALUE
    }
    if len(recurring) < 2 or sum(recurring.values()) < MOSTLY * rows.total():
        return f"{such}, and most of it does not come again"
    if len(recurring) > MOST_VALUES:
        return f"{such}, of more than {MOST_VALUES} values"
    index = {value: float(place) for place, value in enumerate(recurring)}
    indices = np.array([index.get(cell, np.nan) for cell in cells])
    return Texts(recurring, indices, rows.total() - sum(recurring.values()))


def times(cells: Sequence[str]) -> list[datetime | None] | None:
    """The column as times; None where it is not mostly that. They have a zone where they say it."""
    known = [cell for cell in cells[:2000] if not is_missing(cell)]
    if not known:
        return None
    form = next((f for f in (None, *TIMES) if _fits(known, f)), "none")
    if form == "none":
        return None
    return [None if is_missing(cell) else _time(cell, form) for cell in cells]


def _fits(cells: Sequence[str], form: str | None) -> bool:
    return sum(_time(cell, form) is not None for cell in cells) >= MOSTLY * len(cells)


def _time(cell: str, form: str | None) -> datetime | None:
    try:
        if form is not None:
            return datetime.strptime(cell, form)
        # A bare number is no date here, though ISO allows it.
        return None if cell.isdigit() else datetime.fromisoformat(cell)
    except ValueError:
        return None


def codes(values: NDArray[np.float64]) -> list[float]:
    """Error codes among readings: values such as 9999 or 65535 that come again and again, far
    outside of all others."""
    found: list[float] = []
    known = values[~np.isnan(values)]
    often = Counter(known.tolist())
    while len(often) > 2:
        ends = sorted(often)
        for code, nearest, other in ((ends[-1], ends[-2], ends[0]), (ends[0], ends[1], ends[-1])):
            span = abs(nearest - other)
            if _is_code(code) and often[code] >= CODE_TIMES and abs(code - nearest) > APART * span:
                found.append(code)
                del often[code]
                break
        else:
            break
    return sorted(found)


def _is_code(value: float) -> bool:
    digits = f"{abs(value):g}".replace(".", "")
    return value in CODES or (len(digits) >= 2 and set(digits) == {"9"}) or value in (-1.0, -1000.0)
