"""Operators' verbs against the learner, and what ops ask about a store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from service.api import bodies
from service.api.v1.documents import (
    KeepRequest,
    PreviewedRequest,
    PromoteRequest,
    PruneRequest,
    RebaseRequest,
    RollbackRequest,
    VerbRequest,
    problems,
    request_body,
)
from service.errors import Fault, InvalidRequest, Refused
from service.learner import describe
from service.learner.requests import Order, TakeSnapshot, Verb
from service.operations import questions as inspection
from service.rebase.selection import Selection

if TYPE_CHECKING:
    from service.learner.learner import Learner

VERB_KEYS = ("reason", "actor")
SELECTION_KEYS = (
    "without",
    "since",
    "until",
    "observed",
    "batch_ids",
    "lines",
    "learn_frozen",
)


def _who(request: Request, body: dict[str, Any]) -> str:
    address = request.client.host if request.client else "unknown"
    return bodies.name(body, "actor") or f"anonymous@{address}"


def _why(body: dict[str, Any]) -> str:
    reason = bodies.name(body, "reason")
    if reason is None:
        raise InvalidRequest(Fault("reason", "why this is done, for the audit trail", "none"))
    return reason


def _selection(body: dict[str, Any]) -> Selection:
    ranges = body.get("without") or []
    if not isinstance(ranges, list) or not all(
        isinstance(pair, list)
        and len(pair) == 2
        and all(type(v) is int for v in pair)
        and 1 <= pair[0] <= pair[1]
        for pair in ranges
    ):
        raise InvalidRequest(
            Fault("without", "a list of [first, last] event numbers", repr(ranges)[:80])
        )
    return Selection(
        without=tuple((a, b) for a, b in ranges),
        since=bodies.instant(body, "since"),
        until=bodies.instant(body, "until"),
        observed=bodies.flag(body, "observed"),
        batch_ids=bodies.names(body, "batch_ids"),
        lines=bodies.names(body, "lines"),
        learn_frozen=bodies.flag(body, "learn_frozen"),
    )


def router(learner: Learner) -> APIRouter:
    """Routes that change the learner, and those that look closely at its store."""
    routes = APIRouter(
        prefix="/v1/models/{model}",
        tags=["operations"],
        responses=problems(400, 404, 409, 422, 503),
    )
    limit = learner.limits.body_bytes

    async def read(model: str, request: Request, *keys: str) -> dict[str, Any]:
        learner.model(model)
        body = await bodies.json_object(request, limit)
        bodies.known_keys(body, (*VERB_KEYS, *keys))
        return body

    async def do(verb: Verb, body: dict[str, Any]) -> dict[str, Any]:
        if bodies.flag(body, "dry_run"):
            return await run_in_threadpool(inspection.preview, learner, verb)
        return await asyncio.wrap_future(learner.order(verb))

    def verb(
        kind: str,
        model: str,
        request: Request,
        body: dict[str, Any],
        snapshot: int | None = None,
        **values: Any,
    ) -> Verb:
        return Verb(
            model,
            kind,
            learner.clock(),
            _who(request, body),
            _why(body),
            Order(values=values),
            snapshot,
        )

    @routes.post(
        "/snapshot",
        openapi_extra=request_body(VerbRequest),
        summary="Snapshot the live network now",
    )
    async def take_snapshot(model: str, request: Request) -> dict[str, Any]:
        body = await read(model, request)
        reason = bodies.name(body, "reason") or ""
        work = TakeSnapshot(model, "demand", _who(request, body), reason)
        return describe.outline(await asyncio.wrap_future(learner.order(work)))

    @routes.post(
        "/rollback",
        openapi_extra=request_body(RollbackRequest),
        summary="The learner's whole state becomes that of a snapshot",
    )
    async def rollback(model: str, request: Request) -> dict[str, Any]:
        body = await read(model, request, "dry_run", "version")
        version = bodies.integer(body, "version")
        return await do(verb("rollback", model, request, body, version), body)

    @routes.post(
        "/promote",
        openapi_extra=request_body(PromoteRequest),
        summary="Hold a snapshot as champion for the replicas, or let go of it",
    )
    async def promote(model: str, request: Request) -> dict[str, Any]:
        body = await read(model, request, "dry_run", "version", "auto")
        if bodies.flag(body, "auto"):
            version = await run_in_threadpool(inspection.automatic_champion, learner, model)
            return await do(
                verb("promote", model, request, body, version=version, pinned=False), body
            )
        version = bodies.integer(body, "version")
        await run_in_threadpool(learner.known_snapshot, model, version)
        return await do(verb("promote", model, request, body, version=version, pinned=True), body)

    @routes.post(
        "/freeze",
        openapi_extra=request_body(PreviewedRequest),
        summary="Score labels from now on, but do not learn them",
    )
    async def freeze(model: str, request: Request) -> dict[str, Any]:
        body = await read(model, request, "dry_run")
        return await do(verb("freeze", model, request, body), body)

    @routes.post("/thaw", openapi_extra=request_body(PreviewedRequest), summary="Learn again")
    async def thaw(model: str, request: Request) -> dict[str, Any]:
        body = await read(model, request, "dry_run")
        return await do(verb("thaw", model, request, body), body)

    @routes.post(
        "/rebase",
        openapi_extra=request_body(RebaseRequest),
        status_code=202,
        summary="Replay the log without some lessons, then swap the result in",
    )
    async def rebase(model: str, request: Request) -> dict[str, Any]:
        body = await read(model, request, "dry_run", *SELECTION_KEYS)
        selection = _selection(body)
        if bodies.flag(body, "dry_run"):
            found = await run_in_threadpool(learner.rebasings.preview, model, selection)
            return {"model": model, "dry_run": True, **found.to_json()}
        begun = await run_in_threadpool(
            learner.rebasings.begin, model, selection, _who(request, body), _why(body)
        )
        return {**begun.status(), **begun.plan.to_json()}

    @routes.get("/rebase", summary="How the latest rebase of this process goes")
    def rebase_status(model: str) -> dict[str, Any]:
        learner.model(model)
        latest = learner.rebasings.latest(model)
        if latest is None:
            raise Refused(f"{model}: no rebase since this process started")
        return latest.status()

    @routes.post(
        "/rebase/cancel",
        openapi_extra=request_body(VerbRequest),
        summary="Give a running rebase up; nothing of it becomes visible",
    )
    async def rebase_cancel(model: str, request: Request) -> dict[str, Any]:
        body = await read(model, request)
        reason = bodies.name(body, "reason") or "cancelled"
        return learner.rebasings.cancel(model, _who(request, body), reason).status()

    @routes.post(
        "/drift/renew",
        openapi_extra=request_body(VerbRequest),
        summary="Collect a new drift reference from the rows that follow",
    )
    async def renew_drift(model: str, request: Request) -> dict[str, Any]:
        body = await read(model, request)
        await run_in_threadpool(
            inspection.renew_drift, learner, model, _who(request, body), _why(body)
        )
        return learner.watcher.state(model)

    @routes.get("/audit", summary="Who did what, when and why, oldest first")
    def audit(model: str) -> dict[str, Any]:
        learner.model(model)
        return inspection.audit(learner.store, model)

    @routes.get("/live", summary="What was champion at a time (RFC 3339)")
    def live_at(model: str, at: str) -> dict[str, Any]:
        learner.model(model)
        moment = bodies.instant({"at": at}, "at")
        assert moment is not None
        return inspection.live_at(learner.store, model, moment)

    @routes.get("/verify", summary="Every stored byte of the model, checked")
    def verify(model: str) -> dict[str, Any]:
        learner.model(model)
        return inspection.verify(learner.store, model, learner.events)

    @routes.get("/snapshots/{version}/diff/{other}", summary="How two snapshots differ")
    def diff(model: str, version: int, other: int) -> dict[str, Any]:
        learner.model(model)
        for number in (version, other):
            learner.known_snapshot(model, number, staged=True)
        return inspection.diff(learner.store, learner.events, model, version, other)

    @routes.post(
        "/snapshots/{version}/keep",
        openapi_extra=request_body(KeepRequest),
        summary="Spare a snapshot from retention, or no longer",
    )
    async def keep(model: str, version: int, request: Request) -> dict[str, Any]:
        body = await read(model, request, "keep")
        await run_in_threadpool(learner.known_snapshot, model, version)
        if "keep" not in body:
            raise InvalidRequest(Fault("keep", "true or false", "none"))
        kept = bodies.flag(body, "keep")
        await run_in_threadpool(
            inspection.keep, learner, model, version, kept, _who(request, body), _why(body)
        )
        return {"model": model, "version": version, "keep": kept}

    @routes.post(
        "/prune",
        openapi_extra=request_body(PruneRequest),
        summary="Delete the snapshots that nothing holds, and events older than all of them",
    )
    async def prune(model: str, request: Request) -> dict[str, Any]:
        body = await read(model, request, "dry_run", "events")
        dry_run, events = bodies.flag(body, "dry_run"), bodies.flag(body, "events")
        return await run_in_threadpool(inspection.prune_now, learner, model, dry_run, events)

    return routes
