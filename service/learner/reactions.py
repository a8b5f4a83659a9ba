"""What a drift alarm does beside telling: a snapshot, or a step size raised for a while.

On the writer's thread alone, so that one owner counts the rows for which it is raised.
"""

from __future__ import annotations

from collections.abc import Callable

from service.config import Drift
from service.drift import Alarm
from service.history.verbs import automatic
from service.learner.model import LiveModel
from service.learner.requests import TakeSnapshot, Verb


class Reactions:
    """From alarms to work for the writer.

    Parameters
    ----------
    drift
        What is configured.
    clock
        Unix seconds; receipt times of the events come from it.
    """

    def __init__(self, drift: Drift, clock: Callable[[], float]) -> None:
        self._drift = drift
        self._clock = clock

    def to(self, live: LiveModel, alarm: Alarm) -> Verb | TakeSnapshot | None:
        """What an alarm asks for."""
        if self._drift.action == "snapshot":
            return TakeSnapshot(live.name, "drift", reason=alarm.sentence)
        if self._drift.action == "raise_step_size" and not live.raised_rows:
            raised = live.spec.step_size * self._drift.raise_factor
            rows = self._drift.raised_rows
            return self._step_size(live, raised, f"drift: {alarm.sentence}", raised_rows=rows)
        return None

    def due(self, live: LiveModel) -> Verb | None:
        """The end of a raised step size, once the rows for which it was raised are over."""
        raised = live.published.step_size != live.spec.step_size
        if self._drift.action != "raise_step_size" or live.raised_rows or not raised:
            return None
        return self._step_size(live, live.spec.step_size, "the rows after a drift are over")

    def _step_size(self, live: LiveModel, value: float, reason: str, **more: int) -> Verb:
        seq = live.published.seq
        order = automatic((seq, seq), step_size=value, **more)
        return Verb(live.name, "step_size", self._clock(), "drift", reason, order)
