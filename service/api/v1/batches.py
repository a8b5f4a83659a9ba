"""Lines: batches with or without labels, and labels that arrive later.

`service.api.front` answers these without FastAPI's help, by the same `Lines`; here they stand for
whatever it hands on, and for the page that documents them.
"""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from service.api import bodies
from service.api.engine import Engine
from service.api.v1.documents import (
    BATCH_EXAMPLES,
    BatchAnswer,
    BatchRequest,
    LabelsAnswer,
    LabelsRequest,
    problems,
    request_body,
)
from service.api.v1.lines import STATUS, Answer, Lines


def router(engine: Engine, lines: Lines) -> APIRouter:
    """The routes of lines."""
    routes = APIRouter(prefix="/v1/models/{model}", tags=["lines"])
    limit = engine.limits.body_bytes

    async def answered(model: str, answer: Answer) -> Response:
        content = answer if isinstance(answer, bytes) else await asyncio.wrap_future(answer)
        head = {STATUS: engine.status(model)}
        return Response(content, media_type="application/json", headers=head)

    @routes.post(
        "/batches",
        response_model=BatchAnswer,
        responses=problems(400, 404, 409, 413, 422, 429, 503),
        openapi_extra=request_body(BatchRequest, BATCH_EXAMPLES),
        summary="Predict rows, and learn those that are labelled",
    )
    async def post_batch(model: str, request: Request) -> Response:
        engine.model(model)
        return await answered(model, lines.batch(model, await bodies.json_object(request, limit)))

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
        engine.model(model)
        return await answered(model, lines.labels(model, await bodies.json_object(request, limit)))

    return routes
