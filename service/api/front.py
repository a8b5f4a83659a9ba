"""What every request passes first; and the two questions of lines, answered right here.

Routing, dependencies and middleware classes cost several times what a prediction does. So rows and
labels for models that there are go from the server to `Lines` and back; all else goes on to
FastAPI, whose routes for the same two questions answer the same.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from model_store.errors import StorageError
from service.api import bodies, problems
from service.api.bodies import Arriving
from service.api.door import SAFE, Door
from service.api.engine import Engine
from service.api.v1.lines import STATUS, Answer, Lines
from service.errors import ApicalError

log = structlog.get_logger()

REQUEST_ID = b"x-request-id"
MODELS = "/v1/models/"

Ask = Callable[[str, dict[str, Any]], Answer]


class Front:
    """ASGI around the application: latency and count of every request, its id, and the door.

    Metrics' labels are route templates and the names of models that exist, so nobody can grow the
    number of series by asking for paths that do not exist.

    Parameters
    ----------
    app
        Answers what is not answered here.
    hosts
        See `Door`.
    """

    def __init__(
        self,
        app: FastAPI,
        engine: Engine,
        lines: Lines,
        arriving: Arriving,
        hosts: Collection[str],
    ) -> None:
        self.app = app
        self._engine = engine
        self._door = Door(hosts)
        self._arriving = arriving
        self._asks: dict[str, Ask] = {"batches": lines.batch, "labels": lines.labels}
        self._paths: dict[str, tuple[str, str]] = {}
        self._ids = itertools.count()
        self._birth = secrets.token_hex(12)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        request_id = headers.get(REQUEST_ID, b"")[:200]
        if not request_id:
            request_id = f"{self._birth}{next(self._ids):08x}".encode()
        code, asked = 500, None

        async def reply(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID, request_id)]
            await send(message)

        try:
            if scope["method"] not in SAFE:
                refused = self._door.refusal(headers)
                if refused is not None:
                    await problems.problem(*refused)(scope, receive, reply)
                    return
                if scope["method"] == "POST":
                    asked = self._asked(scope)
            if asked is None:
                await self.app(scope, receive, reply)
            else:
                await self._answer(asked, headers, scope, receive, reply)
        finally:
            if asked is not None:
                route, model = f"{MODELS}{{model}}/{asked[1]}", asked[0]
            else:
                route = getattr(scope.get("route"), "path", "unmatched")
                model = scope.get("path_params", {}).get("model", "")
                model = model if model in self._engine.models else ""
            self._measure(route, model, code, time.perf_counter() - started)

    def _asked(self, scope: Scope) -> tuple[str, str] | None:
        """Model and question of a line's request; None for any other."""
        path = scope["path"]
        found = self._paths.get(path)
        if found is None:
            inner = path.removeprefix(scope.get("root_path", ""))
            model, _, question = inner.removeprefix(MODELS).rpartition("/")
            if not inner.startswith(MODELS) or question not in self._asks:
                return None
            if model not in self._engine.models:
                return None
            # As many as there are models and questions; nobody can make more of them.
            found = self._paths[path] = model, question
        return found

    async def _answer(
        self,
        asked: tuple[str, str],
        headers: dict[bytes, bytes],
        scope: Scope,
        receive: Receive,
        reply: Callable[[Message], Awaitable[None]],
    ) -> None:
        model, question = asked
        limit = self._engine.limits.body_bytes
        try:
            self._engine.model(model)
            data = await bodies.whole(
                headers.get(b"content-length"), receive, limit, self._arriving
            )
            answer = self._asks[question](model, await bodies.json_of(data))
            if not isinstance(answer, bytes):
                answer = await asyncio.wrap_future(answer)
        except (ApicalError, StorageError) as error:
            await problems.of(error, scope["path"])(scope, receive, reply)
            return
        # Whatever it was, it is this request's; the connection goes on.
        except Exception as error:
            log.error("request failed", path=scope["path"], error=repr(error), exc_info=True)
            await problems.unexpected(scope["method"], scope["path"])(scope, receive, reply)
            return
        head = [
            (b"content-length", b"%d" % len(answer)),
            (b"content-type", b"application/json"),
            (STATUS.encode(), self._engine.status(model).encode()),
        ]
        await reply({"type": "http.response.start", "status": 200, "headers": head})
        await reply({"type": "http.response.body", "body": answer})

    def _measure(self, route: str, model: str, code: int, seconds: float) -> None:
        metrics = self._engine.metrics
        metrics.child(metrics.request_seconds, route, model).observe(seconds)
        metrics.child(metrics.requests, route, model, str(code)).inc()
