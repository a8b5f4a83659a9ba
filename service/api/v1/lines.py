"""The two questions of lines, from the JSON of a body."""

from __future__ import annotations

from typing import Any

from service.api import bodies
from service.api.lines import Answer, Batch, Call, Late, Lines
from service.api.v1.readings import labels as read_labels
from service.api.v1.readings import readings as read_rows
from service.errors import Fault, InvalidRequest

BATCH_KEYS = ("rows", "columns", "labels", "batch_id", "line", "observed_at")
LABEL_KEYS = ("batch_id", "labels", "rows", "columns", "relabel", "line", "observed_at")


def batch(lines: Lines, call: Call, body: dict[str, Any]) -> Answer:
    """Predict rows, and learn those that are labelled."""
    if body.get("labels") is not None:
        lines.teacher()  # before what may pass: to come again would not help
    engine = lines.engine
    schema = engine.model(call.model).schema
    bodies.known_keys(body, BATCH_KEYS)
    readings = read_rows(schema, body, engine.limits.rows_per_batch)
    labels = read_labels(schema, body.get("labels"), len(readings.rows))
    return lines.batch(
        call,
        Batch(
            readings,
            labels,
            bodies.name(body, "batch_id"),
            bodies.name(body, "line"),
            bodies.instant(body, "observed_at"),
        ),
    )


def labels(lines: Lines, call: Call, body: dict[str, Any]) -> Answer:
    """Labels for the rows of an earlier batch."""
    lines.teacher()
    engine = lines.engine
    schema = engine.model(call.model).schema
    bodies.known_keys(body, LABEL_KEYS)
    batch_id = bodies.name(body, "batch_id")
    if batch_id is None:
        raise InvalidRequest(Fault("batch_id", "the id of the batch that is labelled", "none"))
    rows = None
    if "rows" in body or "columns" in body:
        rows = read_rows(schema, body, engine.limits.rows_per_batch).rows
    given: Any = body.get("labels")
    count = len(rows) if rows is not None else len(given) if isinstance(given, list) else 0
    labels = read_labels(schema, given, count, required=True)
    if labels is None:
        raise InvalidRequest(Fault("labels", "at least one label that is not null", "none"))
    return lines.late(
        call,
        Late(
            batch_id,
            labels,
            rows,
            bodies.flag(body, "relabel"),
            bodies.name(body, "line"),
            bodies.instant(body, "observed_at"),
        ),
    )
