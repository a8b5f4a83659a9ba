"""Word from other threads of the process to the writer, which alone owns what they tell of."""

from __future__ import annotations

from typing import NamedTuple

from service.drift import Alarm
from service.history.verbs import Order
from service.learner.requests import Waiting
from service.publishing.publisher import Failed, Finished


class Drifted(NamedTuple):
    """The watcher has raised an alarm."""

    model: str
    alarm: Alarm


class Decided(NamedTuple):
    """What a detector decided has been prepared, or why it could not be."""

    order: Order
    found: Waiting | Exception


class Outstanding(NamedTuple):
    """What was decided before a stop, and did not come about."""

    order: Order


Message = Finished | Failed | Drifted | Decided | Outstanding
