"""What a drift alarm does: it is told, and takes a snapshot or raises the step size for a while.

On the writer's thread alone, so that one owner counts the rows for which it is raised.
"""

from __future__ import annotations

from service.config.process import Drift
from service.drift import Alarm
from service.history.verbs import Alarm as Noticed
from service.history.verbs import Order, SetStepSize
from service.learner.model import LiveModel
from service.learner.requests import TakeSnapshot


class Reactions:
    """From alarms to work for the writer.

    Parameters
    ----------
    drift
        What is configured.
    """

    def __init__(self, drift: Drift) -> None:
        self._drift = drift

    def to(self, live: LiveModel, alarm: Alarm) -> Order | TakeSnapshot | None:
        """What an alarm asks for."""
        if self._drift.action == "snapshot":
            return TakeSnapshot(live.name, "drift", reason=alarm.sentence)
        if self._drift.action == "raise_step_size" and not live.raised_rows:
            raised = live.spec.wanted_step_size * self._drift.raise_factor
            rows = self._drift.raised_rows
            return self._order(live, SetStepSize(raised, rows), f"drift: {alarm.sentence}")
        return None

    def due(self, live: LiveModel) -> Order | None:
        """The end of a raised step size, once the rows for which it was raised are over."""
        raised = live.published.step_size != live.spec.wanted_step_size
        if self._drift.action != "raise_step_size" or live.raised_rows or not raised:
            return None
        verb = SetStepSize(live.spec.wanted_step_size)
        return self._order(live, verb, "the rows after a drift are over")

    def _order(self, live: LiveModel, verb: SetStepSize, reason: str) -> Order:
        seq = live.published.seq
        return Order(live.name, verb, "drift", reason, True, (seq, seq))


def told(live: LiveModel, alarm: Alarm) -> Order:
    """That a detector raised an alarm, as an event."""
    of = alarm.feature or alarm.question
    said = {
        "signal": "drift",
        "of": of,
        "question": alarm.question,
        "detector": alarm.kind,
        "statistic": alarm.statistic / alarm.threshold if alarm.threshold else alarm.statistic,
    }
    verb = Noticed(again=live.alarms.is_open("drift", of))
    seq = live.published.seq
    return Order(live.name, verb, "drift", alarm.sentence, True, (seq, seq), said)
