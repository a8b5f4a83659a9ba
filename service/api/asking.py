"""One question of a line, from the bytes of its body to those of its reply."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from fastapi import Request, Response

from service.api import bodies
from service.api.access import caller
from service.api.lines import Answer, Call, Lines
from service.api.trace import TRACE


class Reply(NamedTuple):
    """Content, when there was an answer to make it of, of `time.perf_counter`; its type, and
    further headers."""

    content: bytes
    answered: float
    kind: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


Ask = Callable[[Call, bytes], Awaitable[Reply]]
"""A protocol's question, with the body of the request. Raises errors of `service.errors`."""


class Json:
    """A question whose body is a JSON object, and whose answer is one.

    Parameters
    ----------
    put
        Puts it, with the body's object.
    read
        Reads that object.
    """

    def __init__(
        self,
        lines: Lines,
        put: Callable[[Lines, Call, dict[str, Any]], Answer],
        read: Callable[[bytes], dict[str, Any]] = bodies.parse,
    ) -> None:
        self._lines = lines
        self._put = put
        self._read = read

    async def __call__(self, call: Call, data: bytes) -> Reply:
        answer = self._put(self._lines, call, await bodies.json_of(data, self._read))
        return Reply(await durable(answer), time.perf_counter())


async def durable(answer: Answer) -> bytes:
    """An answer, once it may be given."""
    if isinstance(answer, bytes):
        return answer
    return answer.finish(await answer.future)


async def routed(
    ask: Ask, lines: Lines, request: Request, model: str, version: str | None = None
) -> Response:
    """The reply to a question that came by FastAPI's routes."""
    engine = lines.engine
    engine.model(model)
    headers = dict(request.scope["headers"])
    limit, arriving = engine.limits.body_bytes, request.app.state.arriving
    data = await bodies.received(headers, request.receive, limit, arriving)
    key, now = caller(request.scope), time.perf_counter()
    reply = await ask(Call(model, version, headers, key, request.scope.get(TRACE), now), data)
    response = Response(reply.content)
    response.raw_headers = head(lines, model, reply)
    return response


def head(lines: Lines, model: str, reply: Reply) -> list[tuple[bytes, bytes]]:
    """The headers of a reply."""
    return [
        (b"content-length", b"%d" % len(reply.content)),
        (b"content-type", reply.kind),
        (STATUS, lines.engine.status(model).encode()),
        *reply.headers,
    ]


STATUS = b"apical-status"
"""Header of every reply to a line: how far the model has got."""
