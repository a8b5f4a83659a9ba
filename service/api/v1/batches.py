"""Lines: batches with or without labels, and labels that arrive later.

`service.api.front` answers these without FastAPI's help, by the same `Lines`; here they stand for
whatever it hands on, and for the page that documents them.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from service.api.asking import Ask, routed
from service.api.lines import Lines
from service.api.v1.documents import (
    BATCH_EXAMPLES,
    BatchAnswer,
    BatchRequest,
    LabelsAnswer,
    LabelsRequest,
    problems,
    request_body,
)


def router(lines: Lines, batch: Ask, labels: Ask) -> APIRouter:
    """The routes of lines."""
    routes = APIRouter(prefix="/v1/models/{model}", tags=["lines"])

    @routes.post(
        "/batches",
        response_model=BatchAnswer,
        responses=problems(400, 404, 409, 413, 422, 429, 503),
        openapi_extra=request_body(BatchRequest, BATCH_EXAMPLES),
        summary="Predict rows, and learn those that are labelled",
    )
    async def post_batch(model: str, request: Request) -> Response:
        return await routed(batch, lines, request, model)

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
        return await routed(labels, lines, request, model)

    return routes
