"""What the operators' routes share: who asks, why, and the body of the request."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from service.api import bodies
from service.api.access import caller
from service.api.v1.documents import problems
from service.errors import Fault, InvalidRequest
from service.learner.learner import Learner

VERB_KEYS = ("reason", "actor")


def operators() -> APIRouter:
    """A router for operators' routes on a model."""
    return APIRouter(
        prefix="/v1/models/{model}",
        tags=["operations"],
        responses=problems(400, 404, 409, 422, 503),
    )


def who(request: Request, body: dict[str, Any]) -> str:
    """Who asks: the name of their key; where nobody is asked for one, whom they say they are."""
    actor, key = bodies.name(body, "actor"), caller(request.scope)
    if key is None:
        address = request.client.host if request.client else "unknown"
        return actor or f"anonymous@{address}"
    if actor not in (None, key.name):
        raise InvalidRequest(Fault("actor", f"none, or the key's name {key.name!r}", repr(actor)))
    return key.name


def why(body: dict[str, Any]) -> str:
    reason = bodies.name(body, "reason")
    if reason is None:
        raise InvalidRequest(Fault("reason", "why this is done, for the audit trail", "none"))
    return reason


async def read(learner: Learner, model: str, request: Request, *keys: str) -> dict[str, Any]:
    """The body of a request about a model that exists, with no key but ``keys`` and who and why."""
    learner.model(model)
    body = await bodies.json_object(request, learner.limits.body_bytes, strict=True)
    bodies.known_keys(body, (*VERB_KEYS, *keys))
    return body
