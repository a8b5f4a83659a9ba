"""The application: a function of the engine behind it, so any ASGI server can host it."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Callable, Collection

from fastapi import FastAPI
from fastapi_swagger import patch_fastapi
from starlette.concurrency import run_in_threadpool

from service.access.keyring import Keyring
from service.api import problems
from service.api.asking import Ask, Json
from service.api.bodies import Arriving
from service.api.engine import Engine, Teacher
from service.api.front import Front
from service.api.lines import Lines
from service.api.openapi import document
from service.api.v1 import batches, columns, models
from service.api.v1 import lines as v1
from service.api.v1.telegraf import telegraf
from service.api.v2 import health, inference
from service.api.v2.infer import Infer

BODIES = 4
"""So many bodies of the largest size may be on their way at once."""

STOP_S = 10.0
"""How long a stop waits for a start that is under way."""


def create_app(
    engine: Engine,
    on_fatal: Callable[[BaseException], None] | None = None,
    *,
    hosts: Collection[str] = (),
    keyring: Keyring | None = None,
) -> Front:
    """The HTTP application; FastAPI's part of it is its ``app``.

    Parameters
    ----------
    engine
        A learner or a replica; started and closed with the application.
    on_fatal
        Called when the engine cannot start, which it does in a thread of its own, so that liveness
        is answered while a long log is replayed; or when it cannot go on.
    hosts
        Names under which it is reached, beside ``localhost`` and addresses; see `Door`.
    keyring
        Whoever asks must have a key of it; None: nobody is asked.
    """
    if on_fatal is not None:
        engine.on_fatal = on_fatal

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        def start() -> None:
            try:
                engine.start()
            # Handed on whole: only whoever runs the server can decide to stop it.
            except BaseException as error:
                if on_fatal is None:
                    raise
                on_fatal(error)

        # A daemon: one that hangs in a store must not keep a process that stops.
        starter = threading.Thread(target=start, name="start", daemon=True)
        starter.start()
        yield
        engine.stop()
        await run_in_threadpool(starter.join, STOP_S)
        if not starter.is_alive():
            await run_in_threadpool(engine.close)

    app = FastAPI(
        title="Apical",
        summary="Online-learning inference by Dendritic Localized Learning",
        version="1",
        lifespan=lifespan,
        # FastAPI's own page loads its scripts from elsewhere; a factory's network has no elsewhere.
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        # One representation of a body in OpenAPI, whether it is read or written.
        separate_input_output_schemas=False,
    )
    patch_fastapi(app)
    app.openapi = functools.partial(document, app.openapi, keyring is not None)  # type: ignore[method-assign]
    arriving = app.state.arriving = Arriving(BODIES * engine.limits.body_bytes)
    lines = Lines(engine)
    asks: dict[str, Ask] = {
        "batches": Json(lines, v1.batch, columns.read),
        "labels": Json(lines, v1.labels, columns.read),
        "infer": Infer(lines),
        "telegraf": Json(lines, telegraf),
    }
    problems.install(app)
    app.include_router(batches.router(lines, asks))
    if isinstance(engine, Teacher):
        # Its routes look into states, so it loads torch, which a replica must never do.
        from service.api.v1 import operators

        routers, told = operators.of(engine)
        app.include_router(models.router(lines, told))
        for routes in routers:
            app.include_router(routes)
    else:
        app.include_router(models.router(lines))
    app.include_router(health.router(engine))
    app.include_router(inference.router(lines, asks["infer"]))
    return Front(app, engine, lines, asks, arriving, hosts, keyring)
