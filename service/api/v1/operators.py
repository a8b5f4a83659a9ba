"""All that operators may ask a learner, and have it do."""

from __future__ import annotations

import functools

from fastapi import APIRouter

from service.api.engine import Engine
from service.api.pool import Pool
from service.api.v1 import questions, rebase, upkeep, verbs
from service.api.v1.models import Told
from service.learner.learner import Learner
from service.operations.chronicle import chronicle
from service.operations.score_index import ScoreIndex


def of(engine: Engine) -> tuple[list[APIRouter], Told]:
    """The routes of operators, in the order of the page that lists them, and what the list of
    snapshots says beyond their manifests."""
    assert isinstance(engine, Learner)
    pool = Pool()
    index = ScoreIndex(engine.events, lambda: engine.closing, lambda: engine.failing is not None)
    routes = [part.router(engine, pool) for part in (verbs, rebase, upkeep)]
    told = functools.partial(chronicle, index)
    return [*routes, questions.router(engine, pool, index)], told
