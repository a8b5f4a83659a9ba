"""Sensors that say nothing: always missing, or always out of their range."""

from __future__ import annotations

from typing import Any

import structlog

from service.metrics.declared import Metrics
from service.schema import Replaced, Schema, Sensor

log = structlog.get_logger()

SILENT_ROWS = 500
"""Rows in a row without one good reading after which a sensor is silent."""


class Silent:
    """Of all models. The event loop alone tells it of requests, one at a time.

    A sensor in the wrong unit is out of its range in every row. The network then learns without it,
    which no error ever tells.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._bad: dict[str, dict[str, tuple[str, int]]] = {}

    def saw(self, model: str, schema: Schema, rows: int, replaced: Replaced) -> None:
        """Readings of so many rows."""
        bad = self._bad.setdefault(model, {})
        if not replaced and not bad:
            return
        now = {}
        for sensor, (kind, counts) in _whole(rows, replaced).items():
            _, before = bad.get(sensor, (kind, 0))
            now[sensor] = kind, before + counts
            if before < SILENT_ROWS <= before + counts:
                column = schema.column(sensor)
                known = schema.sensors[column] if column is not None else None
                about = {} if known is None else _limits(known)
                log.warning(
                    "sensor says nothing", model=model, sensor=sensor, kind=kind,
                    rows=before + counts, **about,
                )  # fmt: skip
        for sensor in bad.keys() | now.keys():
            if max(bad.get(sensor, ("", 0))[1], now.get(sensor, ("", 0))[1]) >= SILENT_ROWS:
                rows_ = now.get(sensor, ("", 0))[1]
                self._metrics.silent_rows.labels(model, sensor).set(rows_)
        self._bad[model] = now

    def of(self, model: str) -> dict[str, dict[str, str | int]]:
        """By sensor how it fails, missing or out_of_range, and in how many rows by now."""
        bad = self._bad.get(model, {})
        return {
            sensor: {"kind": kind, "rows": rows}
            for sensor, (kind, rows) in bad.items()
            if rows >= SILENT_ROWS
        }


def _limits(sensor: Sensor) -> dict[str, list[Any]]:
    return {"values": [*sensor.values]} if sensor.values else {"range": [sensor.low, sensor.high]}


def _whole(rows: int, replaced: Replaced) -> dict[str, tuple[str, int]]:
    """The sensors of which not one reading of a request was good, and why most were not."""
    missing, outside = replaced.get("missing", {}), replaced.get("out_of_range", {})
    found = {}
    for sensor in missing.keys() | outside.keys():
        without, out = missing.get(sensor, 0), outside.get(sensor, 0)
        if without + out >= rows:
            found[sensor] = ("out_of_range" if out >= without else "missing", rows)
    return found
