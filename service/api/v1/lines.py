"""What lines ask, whoever carries it: rows to predict and to learn, and labels that come later."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from service.api import bodies
from service.api.engine import Engine, Teacher
from service.api.v1.readings import labels as read_labels
from service.api.v1.readings import readings as read_rows
from service.errors import Fault, InvalidRequest, LabelsRefused
from service.learner.requests import LateLabels, Posted
from service.schema import Readings

BATCH_KEYS = ("rows", "columns", "labels", "batch_id", "line", "observed_at")
LABEL_KEYS = ("batch_id", "labels", "rows", "columns", "relabel", "line", "observed_at")

STATUS = "apical-status"
"""Header of every reply to a line: how far the model has got."""

Answer = bytes | Future[bytes]
"""JSON at once, or once what it tells of is durable."""


class Lines:
    """Requests of lines to a learner, or to a replica, which refuses labels.

    Both methods take the parsed JSON of a body, and raise errors of `service.errors`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._teacher = engine if isinstance(engine, Teacher) else None

    def batch(self, model: str, body: dict[str, Any]) -> Answer:
        """Predict rows, and learn those that are labelled."""
        engine, teacher = self._engine, self._teacher
        schema = engine.model(model).schema
        bodies.known_keys(body, BATCH_KEYS)
        readings = read_rows(schema, body, engine.limits.rows_per_batch)
        labels = read_labels(schema, body.get("labels"), len(readings.rows))
        batch_id, line = bodies.name(body, "batch_id"), bodies.name(body, "line")
        observed_at = bodies.instant(body, "observed_at")
        if teacher is None:
            if body.get("labels") is not None:
                raise LabelsRefused(
                    "labels: expected none, since a replica does not learn; send "
                    "labelled batches to the learner"
                )
            answer: Answer = engine.predict(model, readings, batch_id)
            self._count(model, readings)
        elif labels is None and batch_id is None:
            answer = engine.predict(model, readings)
            self._count(model, readings)
        else:
            work = Posted(model, readings, labels, teacher.clock(), batch_id, line, observed_at)
            answer = teacher.post(work)
            answer.add_done_callback(
                lambda done: None if done.exception() else self._count(model, readings)
            )
        return answer

    def labels(self, model: str, body: dict[str, Any]) -> Answer:
        """Labels for the rows of an earlier batch."""
        schema = self._engine.model(model).schema
        teacher = self._teacher
        if teacher is None:
            raise LabelsRefused("a replica does not learn; send labels to the learner")
        bodies.known_keys(body, LABEL_KEYS)
        batch_id = bodies.name(body, "batch_id")
        if batch_id is None:
            raise InvalidRequest(Fault("batch_id", "the id of the batch that is labelled", "none"))
        rows = None
        if "rows" in body or "columns" in body:
            rows = read_rows(schema, body, self._engine.limits.rows_per_batch).rows
        given: Any = body.get("labels")
        count = len(rows) if rows is not None else len(given) if isinstance(given, list) else 0
        labels = read_labels(schema, given, count, required=True)
        if labels is None:
            raise InvalidRequest(Fault("labels", "at least one label that is not null", "none"))
        return teacher.post(
            LateLabels(
                model,
                batch_id,
                labels,
                teacher.clock(),
                rows,
                bodies.flag(body, "relabel"),
                bodies.name(body, "line"),
                bodies.instant(body, "observed_at"),
            )
        )

    def _count(self, model: str, readings: Readings) -> None:
        metrics = self._engine.metrics
        metrics.child(metrics.rows, model, "predicted").inc(len(readings.rows))
        if readings.missing:
            metrics.child(metrics.readings, model, "missing").inc(readings.missing)
        if readings.out_of_range:
            metrics.child(metrics.readings, model, "out_of_range").inc(readings.out_of_range)
