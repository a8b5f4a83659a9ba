"""Liveness and readiness, on Open Inference Protocol v2 paths, and the metrics to be scraped."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.api.engine import Engine
from service.api.problems import problem
from service.api.v1.documents import problems

PROBED = ["GET", "HEAD"]
"""Load balancers ask with either."""


def router(engine: Engine) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.api_route("/v2/health/live", methods=PROBED, summary="The process answers")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @routes.api_route(
        "/v2/health/ready",
        methods=PROBED,
        responses=problems(503),
        summary="Requests may be sent here",
    )
    async def ready() -> Response:
        why = engine.not_ready
        if why is None:
            return Response(b'{"ready":true}', media_type="application/json")
        return problem(503, "Unavailable", f"not ready: {why}", {"Retry-After": "1"}, ready=False)

    @routes.api_route(
        "/metrics", methods=PROBED, summary="Prometheus exposition", response_class=Response
    )
    def metrics() -> Response:
        engine.refresh_metrics()
        return Response(engine.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    return routes
