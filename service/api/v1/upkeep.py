"""What ops do beside the verbs: keep, prune, renew the drift reference."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from service.api import bodies
from service.api.pool import Pool
from service.api.v1.asked import operators, read, who, why
from service.api.v1.documents import KeepRequest, PruneRequest, VerbRequest, request_body
from service.errors import Fault, InvalidRequest
from service.learner.learner import Learner
from service.operations import upkeep


def router(learner: Learner, pool: Pool) -> APIRouter:
    """Routes that change what is kept, not what is learned."""
    routes = operators()

    @routes.post(
        "/drift/renew",
        openapi_extra=request_body(VerbRequest),
        summary="Collect a new drift reference from the rows that follow",
    )
    async def renew_drift(model: str, request: Request) -> dict[str, Any]:
        body = await read(learner, model, request)
        await pool.ask(upkeep.renew_drift, learner, model, who(request, body), why(body))
        return learner.watcher.state(model)

    @routes.post(
        "/snapshots/{version}/keep",
        openapi_extra=request_body(KeepRequest),
        summary="Spare a snapshot from retention, or no longer",
    )
    async def keep(model: str, version: int, request: Request) -> dict[str, Any]:
        body = await read(learner, model, request, "keep")
        await pool.ask(learner.known_snapshot, model, version)
        if "keep" not in body:
            raise InvalidRequest(Fault("keep", "true or false", "none"))
        kept = bodies.flag(body, "keep")
        await pool.ask(upkeep.keep, learner, model, version, kept, who(request, body), why(body))
        return {"model": model, "version": version, "keep": kept}

    @routes.post(
        "/prune",
        openapi_extra=request_body(PruneRequest),
        summary="Delete the snapshots that nothing holds, and events older than all of them",
    )
    async def prune(model: str, request: Request) -> dict[str, Any]:
        body = await read(learner, model, request, "dry_run", "events")
        dry_run, events = bodies.flag(body, "dry_run"), bodies.flag(body, "events")
        return await pool.ask(upkeep.prune_now, learner, model, dry_run, events)

    return routes
