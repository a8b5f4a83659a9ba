"""Lines: batches with or without labels, and labels that arrive later."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from service.api import bodies
from service.api.engine import Engine, Teacher
from service.api.v1.documents import (
    BATCH_EXAMPLES,
    BatchAnswer,
    BatchRequest,
    LabelsAnswer,
    LabelsRequest,
    problems,
    request_body,
)
from service.api.v1.readings import labels as read_labels
from service.api.v1.readings import readings as read_rows
from service.errors import Fault, InvalidRequest, LabelsRefused
from service.learner.requests import LateLabels, Posted

BATCH_KEYS = ("rows", "columns", "labels", "batch_id", "line", "observed_at")
LABEL_KEYS = ("batch_id", "labels", "rows", "columns", "relabel", "line", "observed_at")


def router(engine: Engine) -> APIRouter:
    """The routes of lines, on a learner and on a replica, which refuses labels."""
    teacher = engine if isinstance(engine, Teacher) else None
    routes = APIRouter(prefix="/v1/models/{model}", tags=["lines"])
    limits = engine.limits

    @routes.post(
        "/batches",
        response_model=BatchAnswer,
        responses=problems(400, 404, 409, 413, 422, 429, 503),
        openapi_extra=request_body(BatchRequest, BATCH_EXAMPLES),
        summary="Predict rows, and learn those that are labelled",
    )
    async def post_batch(model: str, request: Request) -> Response:
        schema = engine.model(model).schema
        body = await bodies.json_object(request, limits.body_bytes)
        bodies.known_keys(body, BATCH_KEYS)
        readings = read_rows(schema, body, limits.rows_per_batch)
        labels = read_labels(schema, body.get("labels"), len(readings.rows))
        batch_id, line = bodies.name(body, "batch_id"), bodies.name(body, "line")
        observed_at = bodies.instant(body, "observed_at")
        if teacher is None:
            if body.get("labels") is not None:
                raise LabelsRefused(
                    "labels: expected none, since a replica does not learn; send "
                    "labelled batches to the learner"
                )
            answer = engine.predict(model, readings, batch_id)
        elif labels is None and batch_id is None:
            answer = engine.predict(model, readings)
        else:
            work = Posted(model, readings, labels, teacher.clock(), batch_id, line, observed_at)
            answer = await asyncio.wrap_future(teacher.post(work))
        metrics = engine.metrics
        metrics.rows.labels(model, "predicted").inc(len(readings.rows))
        if readings.missing:
            metrics.readings.labels(model, "missing").inc(readings.missing)
        if readings.out_of_range:
            metrics.readings.labels(model, "out_of_range").inc(readings.out_of_range)
        return Response(answer, media_type="application/json")

    @routes.post(
        "/labels",
        response_model=LabelsAnswer,
        responses=problems(400, 404, 409, 413, 422, 429, 503),
        openapi_extra=request_body(
            LabelsRequest,
            {
                "late": {
                    "value": {"batch_id": "press-3/2026-03-01/000017", "labels": ["ok", "worn"]}
                }
            },
        ),
        summary="Labels for the rows of an earlier batch",
    )
    async def post_labels(model: str, request: Request) -> Response:
        schema = engine.model(model).schema
        body = await bodies.json_object(request, limits.body_bytes)
        if teacher is None:
            raise LabelsRefused("a replica does not learn; send labels to the learner")
        bodies.known_keys(body, LABEL_KEYS)
        batch_id = bodies.name(body, "batch_id")
        if batch_id is None:
            raise InvalidRequest(Fault("batch_id", "the id of the batch that is labelled", "none"))
        rows = None
        if "rows" in body or "columns" in body:
            rows = read_rows(schema, body, limits.rows_per_batch).rows
        given: Any = body.get("labels")
        count = len(rows) if rows is not None else len(given) if isinstance(given, list) else 0
        labels = read_labels(schema, given, count, required=True)
        if labels is None:
            raise InvalidRequest(Fault("labels", "at least one label that is not null", "none"))
        work = LateLabels(
            model,
            batch_id,
            labels,
            teacher.clock(),
            rows,
            bodies.flag(body, "relabel"),
            bodies.name(body, "line"),
            bodies.instant(body, "observed_at"),
        )
        answer = await asyncio.wrap_future(teacher.post(work))
        return Response(answer, media_type="application/json")

    return routes
