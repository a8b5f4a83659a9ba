"""What is served, and from which snapshots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request

from service.api.access import caller
from service.api.engine import Engine
from service.api.lines import Lines
from service.api.pool import Pool
from service.api.v1.documents import problems
from service.errors import Unavailable

Told = Callable[[str, list[dict[str, Any]]], list[dict[str, Any]]]
"""Outlines of a model's snapshots with what happened between them."""


def router(lines: Lines, told: Told = lambda model, listed: listed) -> APIRouter:
    """Read-only routes; they touch the disk, so they run in the thread pool."""
    engine, pool = lines.engine, Pool()
    routes = APIRouter(prefix="/v1/models", tags=["models"], responses=problems(404, 503))

    @routes.get("", summary="The models of this process")
    def list_models(request: Request) -> dict[str, Any]:
        models, unavailable, key = [], {}, caller(request.scope)
        for name in sorted(engine.models):
            if key is not None and not key.opens(name):
                continue
            try:
                models.append(engine.describe(name))
            # A replica may serve one model and still wait for another's champion.
            except Unavailable as error:
                unavailable[name] = str(error)
        return {"models": models, "unavailable": unavailable}

    @routes.get("/{model}", summary="One model: schema, state, score")
    def show_model(model: str) -> dict[str, Any]:
        return {**engine.describe(engine_name(engine, model)), "silent": lines.silent.of(model)}

    @routes.get("/{model}/snapshots", summary="Its snapshots, oldest first")
    async def list_snapshots(model: str) -> dict[str, Any]:
        name = engine_name(engine, model)
        return {
            "model": model,
            "snapshots": await pool.ask(lambda: told(name, engine.snapshots(name))),
        }

    @routes.get("/{model}/snapshots/{version}", summary="One snapshot's manifest")
    async def show_snapshot(model: str, version: int) -> dict[str, Any]:
        return await pool.ask(engine.snapshot, engine_name(engine, model), version)

    @routes.get("/{model}/drift", summary="What is watched for drift, and what is raised")
    def show_drift(model: str) -> dict[str, Any]:
        return engine.watcher.state(engine_name(engine, model))

    return routes


def engine_name(engine: Engine, model: str) -> str:
    """The name, once it is known to exist; raises UnknownModel."""
    engine.model(model)
    return model
