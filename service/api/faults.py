"""What errors say of values that a request brought."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from service.errors import Fault, InvalidRequest, TooLarge
from service.schema import Schema


def unknown_sensor(schema: Schema, name: Any, row: int | None) -> Fault:
    """A sensor that the model does not have."""
    known = few([s.name for s in schema.sensors])
    return Fault(str(name)[:80], f"one of the sensors {known}", "an unknown sensor", row)


def bounded(field: str, rows: int, limit: int) -> None:
    """Raises InvalidRequest for no row at all, TooLarge for more than ``limit``."""
    if rows == 0:
        raise InvalidRequest(Fault(field, "at least one row", "none"))
    if rows > limit:
        raise TooLarge(Fault(field, f"at most {limit} rows", f"{rows}"))


def few(names: Sequence[str], most: int = 12) -> str:
    """Names, or the first of them and how many there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"


def said(value: Any) -> str:
    """What was found, short enough to be read."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN (a missing reading is null)" if math.isnan(value) else "infinity"
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
