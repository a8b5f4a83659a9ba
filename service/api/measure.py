"""Latency and count of requests by route, and the request id; plain ASGI, for it sees them all."""

from __future__ import annotations

import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.engine import Engine

REQUEST_ID = b"x-request-id"


class Measure:
    """ASGI middleware around everything.

    Labels are route templates and the names of models that exist, so nobody can grow the number of
    series by asking for paths that do not exist.
    """

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self._app = app
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        sent_id = next((v for k, v in scope["headers"] if k == REQUEST_ID), b"")
        request_id = sent_id[:200] or uuid.uuid4().hex.encode()
        code = 500

        async def reply(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID, request_id)]
            await send(message)

        try:
            await self._app(scope, receive, reply)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            model = scope.get("path_params", {}).get("model", "")
            model = model if model in self._engine.models else ""
            metrics = self._engine.metrics
            metrics.request_seconds.labels(route, model).observe(time.perf_counter() - started)
            metrics.requests.labels(route, model, str(code)).inc()
