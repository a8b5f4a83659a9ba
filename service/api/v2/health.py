"""Liveness and readiness, on Open Inference Protocol v2 paths, and the metrics to be scraped.

Load balancers ask with GET or with HEAD.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from service.api.engine import Engine
from service.api.problems import problem
from service.api.v1.documents import problems


def router(engine: Engine) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.head("/v2/health/live", include_in_schema=False)
    @routes.get("/v2/health/live", summary="The process answers")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @routes.head("/v2/health/ready", include_in_schema=False)
    @routes.get("/v2/health/ready", responses=problems(503), summary="Requests may be sent here")
    async def ready() -> Response:
        why = engine.not_ready
        if why is None:
            return Response(b'{"ready":true}', media_type="application/json")
        return problem(503, "Unavailable", f"not ready: {why}", {"Retry-After": "1"}, ready=False)

    @routes.head("/metrics", include_in_schema=False)
    @routes.get("/metrics", summary="Prometheus exposition", response_class=Response)
    def metrics(request: Request) -> Response:
        engine.refresh_metrics()
        content, kind = engine.metrics.exposition(request.headers.get("accept", ""))
        return Response(content, headers={"content-type": kind})

    return routes
