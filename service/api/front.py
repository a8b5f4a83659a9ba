"""What every request passes first; and the questions of lines, answered right here.

Routing, dependencies and middleware classes cost several times what a prediction does. So rows and
labels for models that there are go from the server to `Lines` and back; all else goes on to
FastAPI, whose routes for the same questions answer the same.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Collection
from typing import NamedTuple

import structlog
from fastapi import FastAPI
from prometheus_client import Histogram
from starlette.types import Receive, Scope, Send

from model_store.errors import StorageError
from service.access.keyring import Keyring
from service.access.keys import Key
from service.api import bodies, problems
from service.api.access import Access
from service.api.asking import Ask, head
from service.api.bodies import Arriving
from service.api.door import Door
from service.api.engine import Engine
from service.api.exchange import Exchange
from service.api.lines import Call, Lines
from service.api.memory import LARGE_BYTES, give_back_soon
from service.api.paths import LINES, ROUTES, route_path
from service.api.trace import PARENT, TRACE, response, trace_of
from service.errors import ApicalError
from service.metrics.registry import exemplar_of
from service.metrics.tally import Count, Spread, Sum

log = structlog.get_logger()

REQUEST_ID = b"x-request-id"


class Answered(NamedTuple):
    """The metrics of a line's requests that were answered: found once, for each is in all of
    them. ``traced`` is of ``seconds``, for those that bring an exemplar."""

    seconds: Spread
    traced: Histogram
    requests: Count
    sent: Count
    received: Count
    encode: Sum


class Asked(NamedTuple):
    """A line's request: the question, its route in the metrics, model and version."""

    ask: Ask
    route: str
    model: str
    version: str | None
    answered: Answered


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
    keyring
        See `Access`.
    """

    def __init__(
        self,
        app: FastAPI,
        engine: Engine,
        lines: Lines,
        asks: dict[str, Ask],
        arriving: Arriving,
        hosts: Collection[str],
        keyring: Keyring | None,
    ) -> None:
        self.app = app
        self._engine = engine
        self._door = Door(hosts)
        self._access = Access(keyring)
        self._arriving = arriving
        self._lines = lines
        self._asks = asks
        self.in_flight = 0
        engine.metrics.in_flight.set_function(lambda: self.in_flight)
        self._paths: dict[str, Asked] = {}
        self._ids = itertools.count()
        self._birth = secrets.token_hex(12).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        request_id = headers.get(REQUEST_ID, b"")[:200]
        if not request_id:
            request_id = b"%s%08x" % (self._birth, next(self._ids))
        ours = [(REQUEST_ID, request_id)]
        trace = trace_of(headers) if PARENT in headers else None
        if trace is not None:
            scope[TRACE] = trace
            ours.append(response(headers, trace))
        exchange, asked = Exchange(receive, send, ours), None
        self.in_flight += 1
        try:
            path = route_path(scope)
            refused = self._door.refusal(scope["method"], path, headers)
            if refused is not None:
                await problems.refusal(scope, *refused)(scope, receive, exchange.send)
                return
            try:
                key = self._access.admit(scope, headers, path)
                if key is not None:
                    self._lines.rates.request(key)
            except ApicalError as error:
                await problems.of(error, scope)(scope, receive, exchange.send)
                return
            if scope["method"] == "POST":
                asked = self._asked(path)
            if asked is None:
                await self.app(scope, exchange.receive, exchange.send)
            else:
                await self._answer(asked, (headers, key, trace), scope, exchange)
        finally:
            self.in_flight -= 1
            self._count(scope, asked, exchange, time.perf_counter() - started, trace)

    def _count(
        self,
        scope: Scope,
        asked: Asked | None,
        exchange: Exchange,
        seconds: float,
        trace: str | None,
    ) -> None:
        """A request that is over."""
        metrics, child = self._engine.metrics, self._engine.metrics.child
        if asked is not None and exchange.code == 200:
            answered = asked.answered
            if trace is None:
                answered.seconds.observe(seconds)
            else:
                answered.traced.observe(seconds, exemplar_of(trace))
            answered.requests.inc()
            answered.sent.inc(exchange.went)
            answered.received.inc(exchange.came)
        else:
            if asked is not None:
                route, model = asked.route, asked.model
            else:
                route = getattr(scope.get("route"), "path", "unmatched")
                model = scope.get("path_params", {}).get("model", "")
                model = model if model in self._engine.models else ""
            child(metrics.request_seconds, route, model).observe(seconds, exemplar_of(trace))
            child(metrics.requests, route, model, str(exchange.code)).inc()
            child(metrics.sent_bytes, route, model).inc(exchange.went)
            if exchange.came:
                child(metrics.received_bytes, route, model).inc(exchange.came)
            if (reason := scope.get(problems.REFUSED)) is not None:
                child(metrics.refusals, reason).inc()
        if exchange.came >= LARGE_BYTES:
            give_back_soon()

    def _asked(self, path: str) -> Asked | None:
        """What a line asks; None for any other request."""
        found = self._paths.get(path)
        if found is None:
            match = LINES.fullmatch(path)
            if match is None:
                return None
            model, version = match["v1"] or match["telegraf"] or match["v2"], match["version"]
            if model not in self._engine.models:
                return None
            question = "telegraf" if match["telegraf"] else path.rpartition("/")[2]
            route, metrics = ROUTES[question], self._engine.metrics
            answered = Answered(
                metrics.spread(metrics.request_seconds, route, model),
                metrics.child(metrics.request_seconds, route, model),
                metrics.count(metrics.requests, route, model, "200"),
                metrics.count(metrics.sent_bytes, route, model),
                metrics.count(metrics.received_bytes, route, model),
                metrics.sum(metrics.stage_seconds, model, "encode"),
            )
            found = Asked(self._asks[question], route, model, version, answered)
            if version is None:
                # As many as there are models and questions; nobody can make more of them.
                self._paths[path] = found
        return found

    async def _answer(
        self,
        asked: Asked,
        about: tuple[dict[bytes, bytes], Key | None, str | None],
        scope: Scope,
        exchange: Exchange,
    ) -> None:
        engine, model, headers = self._engine, asked.model, about[0]
        try:
            engine.model(model)
            here: bytes | None = scope.pop(bodies.HERE, None)
            exchange.came = len(here or b"")
            limit, arriving = engine.limits.body_bytes, self._arriving
            data = await bodies.received(headers, exchange.receive, limit, arriving, here)
            call = Call(model, asked.version, *about, time.perf_counter())
            reply = await asked.ask(call, data)
            start = head(self._lines, model, reply)
        except (ApicalError, StorageError) as error:
            await problems.of(error, scope)(scope, exchange.receive, exchange.send)
            return
        # Whatever it was, it is this request's; the connection goes on.
        except Exception as error:
            log.error("request failed", path=scope["path"], error=repr(error), exc_info=True)
            await problems.unexpected(scope)(scope, exchange.receive, exchange.send)
            return
        await exchange.answer(start, reply.content)
        asked.answered.encode.observe(time.perf_counter() - reply.answered)
