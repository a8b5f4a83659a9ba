"""Operators' verbs against the learner."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from service.api import bodies
from service.api.documents import RollbackRequest, VerbRequest, problems, request_body
from service.errors import Fault, InvalidRequest
from service.work import TakeSnapshot, Verb

if TYPE_CHECKING:
    from service.learner import Learner


def _who(request: Request, body: dict[str, Any]) -> str:
    address = request.client.host if request.client else "unknown"
    return bodies.name(body, "actor") or f"anonymous@{address}"


def _why(body: dict[str, Any]) -> str:
    reason = bodies.name(body, "reason")
    if reason is None:
        raise InvalidRequest(Fault("reason", "why this is done, for the audit trail", "none"))
    return reason


def router(learner: Learner) -> APIRouter:
    """Routes that change the learner."""
    routes = APIRouter(
        prefix="/v1/models/{model}",
        tags=["operations"],
        responses=problems(400, 404, 409, 422, 503),
    )
    limit = learner.limits.body_bytes

    async def _body(model: str, request: Request, *keys: str) -> dict[str, Any]:
        learner.model(model)
        body = await bodies.json_object(request, limit)
        bodies.known_keys(body, ("reason", "actor", *keys))
        return body

    @routes.post(
        "/snapshot",
        openapi_extra=request_body(VerbRequest),
        summary="Snapshot the live network now",
    )
    async def take_snapshot(model: str, request: Request) -> dict[str, Any]:
        body = await _body(model, request)
        work = TakeSnapshot(model, "demand", _who(request, body), bodies.name(body, "reason") or "")
        return learner.outline(await asyncio.wrap_future(learner.order(work)))

    @routes.post(
        "/rollback",
        openapi_extra=request_body(RollbackRequest),
        summary="The learner's whole state becomes that of a snapshot",
    )
    async def rollback(model: str, request: Request) -> dict[str, Any]:
        body = await _body(model, request, "version")
        work = Verb(
            model,
            "rollback",
            learner.clock(),
            _who(request, body),
            _why(body),
            snapshot=bodies.integer(body, "version"),
        )
        return await asyncio.wrap_future(learner.order(work))

    return routes
