"""Rebase: replay the log without some lessons, watch it, give it up."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from service.api import bodies
from service.api.pool import Pool
from service.api.v1.asked import operators, read, who, why
from service.api.v1.documents import RebaseRequest, VerbRequest, request_body
from service.errors import Fault, InvalidRequest, Refused
from service.learner.learner import Learner
from service.rebase.selection import Selection, merged

SELECTION_KEYS = (
    "without",
    "since",
    "until",
    "observed",
    "batch_ids",
    "lines",
    "learn_frozen",
    "learn_lines",
)


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
    if len(ranges) > bodies.MOST_VALUES:
        raise InvalidRequest(
            Fault("without", f"at most {bodies.MOST_VALUES} ranges", f"{len(ranges)}")
        )
    return Selection(
        without=merged((a, b) for a, b in ranges),
        since=bodies.instant(body, "since"),
        until=bodies.instant(body, "until"),
        observed=bodies.flag(body, "observed"),
        batch_ids=frozenset(bodies.names(body, "batch_ids")),
        lines=frozenset(bodies.names(body, "lines")),
        learn_frozen=bodies.flag(body, "learn_frozen"),
        learn_lines=frozenset(bodies.names(body, "learn_lines")),
    )


def router(learner: Learner, pool: Pool) -> APIRouter:
    """Routes of rebases."""
    routes = operators()

    @routes.post(
        "/rebase",
        openapi_extra=request_body(RebaseRequest),
        status_code=202,
        summary="Replay the log without some lessons, then swap the result in",
    )
    async def rebase(model: str, request: Request) -> dict[str, Any]:
        body = await read(learner, model, request, "dry_run", *SELECTION_KEYS)
        selection = _selection(body)
        if bodies.flag(body, "dry_run"):
            found = await pool.ask(learner.rebasings.preview, model, selection)
            return {"model": model, "dry_run": True, **found.to_json()}
        begun = await pool.ask(
            learner.rebasings.begin, model, selection, who(request, body), why(body)
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
        body = await read(learner, model, request)
        reason = bodies.name(body, "reason") or "cancelled"
        return learner.rebasings.cancel(model, who(request, body), reason).status()

    return routes
