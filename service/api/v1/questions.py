"""What ops ask of a learner: the trail, the past, the bytes, differences. Changes nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from service.api import bodies
from service.api.pool import Pool
from service.api.v1.asked import operators
from service.learner.learner import Learner
from service.operations import questions
from service.operations.score_index import ScoreIndex


def router(learner: Learner, pool: Pool, index: ScoreIndex) -> APIRouter:
    """Routes that look closely at the learner's log and store."""
    routes = operators()

    @routes.get("/audit", summary="Who did what, when and why, oldest first")
    async def audit(model: str) -> dict[str, Any]:
        learner.model(model)
        return await pool.ask(questions.audit, learner.store, model)

    @routes.get("/alarms", summary="What was noticed and not acknowledged yet, oldest first")
    async def alarms(model: str) -> dict[str, Any]:
        found = learner.model(model).alarms.opened()
        return {"model": model, "alarms": [asdict(alarm) for alarm in found]}

    @routes.get("/live", summary="What was champion at a time (RFC 3339)")
    async def live_at(model: str, at: str) -> dict[str, Any]:
        learner.model(model)
        moment = bodies.instant({"at": at}, "at")
        assert moment is not None
        return await pool.ask(questions.live_at, learner.store, model, moment)

    @routes.get("/verify", summary="Every stored byte of the model, checked")
    async def verify(model: str) -> dict[str, Any]:
        learner.model(model)
        return await pool.ask(questions.verify, learner.store, model, learner.events)

    @routes.get("/events", summary="Errors by time and line, from the log")
    async def events(
        model: str,
        every_s: Annotated[float, Query(ge=1, le=366 * 86400)] = 600.0,
        since: str | None = None,
        until: str | None = None,
        line: str | None = None,
        observed: bool = False,
    ) -> dict[str, Any]:
        learner.model(model)
        said = {"since": since, "until": until}
        about = {name: bodies.instant(said, name) for name in said}

        def asked() -> dict[str, Any]:
            return index.errors_by_time(model, every_s, observed=observed, line=line, **about)

        return await pool.ask(asked)

    @routes.get("/snapshots/{version}/diff/{other}", summary="How two snapshots differ")
    async def diff(model: str, version: int, other: int) -> dict[str, Any]:
        learner.model(model)
        for number in (version, other):
            await pool.ask(learner.known_snapshot, model, number, staged=True)
        return await pool.ask(questions.diff, learner.store, learner.events, model, version, other)

    return routes
