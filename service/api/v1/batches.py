"""Lines: batches with or without labels, and labels that arrive later.

`service.api.front` answers these without FastAPI's help, by the same `Lines`; here they stand for
whatever it hands on, and for the page that documents them.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from service.api.asking import Ask, routed
from service.api.lines import Lines
from service.api.paths import ROUTES
from service.api.v1.documents import (
    BATCH_EXAMPLES,
    BatchAnswer,
    BatchRequest,
    LabelsAnswer,
    LabelsRequest,
    TelegrafRequest,
    problems,
    request_body,
)


def router(lines: Lines, asks: Mapping[str, Ask]) -> APIRouter:
    """The routes of lines; ``asks`` by the names of `service.api.paths.ROUTES`."""
    routes = APIRouter(tags=["lines"])

    @routes.post(
        ROUTES["batches"],
        response_model=BatchAnswer,
        responses=problems(400, 404, 409, 413, 422, 429, 503),
        openapi_extra=request_body(BatchRequest, BATCH_EXAMPLES),
        summary="Predict rows, and learn those that are labelled",
    )
    async def post_batch(model: str, request: Request) -> Response:
        return await routed(asks["batches"], lines, request, model)

    @routes.post(
        ROUTES["labels"],
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
        return await routed(asks["labels"], lines, request, model)

    @routes.post(
        ROUTES["telegraf"],
        response_model=BatchAnswer,
        responses=problems(400, 404, 409, 413, 422, 429, 503),
        openapi_extra=request_body(TelegrafRequest),
        summary="Rows as Telegraf's outputs.http sends metrics in JSON",
    )
    async def post_telegraf(model: str, request: Request) -> Response:
        return await routed(asks["telegraf"], lines, request, model)

    return routes
