"""Operators' verbs: snapshot, rollback, promote, freeze, thaw, quarantine, release, acknowledge."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request

from service.api import bodies
from service.api.pool import Pool
from service.api.trace import TRACE
from service.api.v1.asked import operators, read, who, why
from service.api.v1.documents import (
    AcknowledgeRequest,
    LineRequest,
    PreviewedRequest,
    PromoteRequest,
    RollbackRequest,
    VerbRequest,
    request_body,
)
from service.history.verb import Verb
from service.history.verbs import (
    Acknowledge,
    Freeze,
    Order,
    Promote,
    Quarantine,
    Release,
    Rollback,
    Thaw,
)
from service.learner import describe
from service.learner.learner import Learner
from service.learner.requests import TakeSnapshot
from service.operations import questions


def router(learner: Learner, pool: Pool) -> APIRouter:
    """Routes that change the learner at once."""
    routes = operators()

    async def do(order: Order, body: dict[str, Any]) -> dict[str, Any]:
        if bodies.flag(body, "dry_run"):
            return await pool.ask(questions.preview, learner, order)
        return await asyncio.wrap_future(learner.order(order))

    def order(model: str, verb: Verb, request: Request, body: dict[str, Any]) -> Order:
        trace = request.scope.get(TRACE)
        evidence = {} if trace is None else {"trace": trace}
        return Order(model, verb, who(request, body), why(body), evidence=evidence)

    @routes.post(
        "/snapshot",
        openapi_extra=request_body(VerbRequest),
        summary="Snapshot the live network now",
    )
    async def take_snapshot(model: str, request: Request) -> dict[str, Any]:
        body = await read(learner, model, request)
        reason = bodies.name(body, "reason") or ""
        work = TakeSnapshot(model, "demand", who(request, body), reason)
        return describe.outline(await asyncio.wrap_future(learner.take_snapshot(work)))

    @routes.post(
        "/rollback",
        openapi_extra=request_body(RollbackRequest),
        summary="The learner's whole state becomes that of a snapshot",
    )
    async def rollback(model: str, request: Request) -> dict[str, Any]:
        body = await read(learner, model, request, "dry_run", "version")
        version = bodies.integer(body, "version")
        return await do(order(model, Rollback(version), request, body), body)

    @routes.post(
        "/promote",
        openapi_extra=request_body(PromoteRequest),
        summary="Hold a snapshot as champion for the replicas, or let go of it",
    )
    async def promote(model: str, request: Request) -> dict[str, Any]:
        body = await read(learner, model, request, "dry_run", "version", "auto")
        if bodies.flag(body, "auto"):
            version = await pool.ask(questions.automatic_champion, learner, model)
            verb = Promote(version, pinned=False)
            return await do(order(model, verb, request, body), body)
        version = bodies.integer(body, "version")
        await pool.ask(learner.known_snapshot, model, version)
        return await do(order(model, Promote(version, pinned=True), request, body), body)

    @routes.post(
        "/freeze",
        openapi_extra=request_body(PreviewedRequest),
        summary="Score labels from now on, but do not learn them",
    )
    async def freeze(model: str, request: Request) -> dict[str, Any]:
        body = await read(learner, model, request, "dry_run")
        return await do(order(model, Freeze(), request, body), body)

    @routes.post("/thaw", openapi_extra=request_body(PreviewedRequest), summary="Learn again")
    async def thaw(model: str, request: Request) -> dict[str, Any]:
        body = await read(learner, model, request, "dry_run")
        return await do(order(model, Thaw(), request, body), body)

    def about_a_line(verb: type[Quarantine | Release], summary: str) -> None:
        async def asked(model: str, request: Request) -> dict[str, Any]:
            body = await read(learner, model, request, "dry_run", "line")
            return await do(order(model, verb(bodies.line(body)), request, body), body)

        body = request_body(LineRequest)
        path = f"/{verb.kind}"
        routes.post(path, name=verb.kind, openapi_extra=body, summary=summary)(asked)

    about_a_line(Quarantine, "Keep a line's labels from now on, but do not learn them")
    about_a_line(Release, "Learn the labels of a line again that was in quarantine")

    @routes.post(
        "/acknowledge",
        openapi_extra=request_body(AcknowledgeRequest),
        summary="Say that alarms were seen: the next of their kind is news again",
    )
    async def acknowledge(model: str, request: Request) -> dict[str, Any]:
        body = await read(learner, model, request, "alarms")
        verb = Acknowledge(bodies.integers(body, "alarms"))
        return await do(order(model, verb, request, body), body)

    return routes
