"""All that operators may ask a learner, and have it do."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter

from service.api.engine import Engine
from service.api.pool import Pool
from service.api.v1 import questions, rebase, upkeep, verbs
from service.learner.learner import Learner
from service.operations.score_index import ScoreIndex


def routers(engine: Engine) -> Iterator[APIRouter]:
    """The routes of operators, in the order of the page that lists them."""
    assert isinstance(engine, Learner)
    pool = Pool()
    for routes in (verbs, rebase, upkeep):
        yield routes.router(engine, pool)
    yield questions.router(engine, pool, ScoreIndex(engine.events, lambda: engine.closing))
