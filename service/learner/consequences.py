"""What follows from a guard's signal: what it is configured to do, as orders, and what it says."""

from __future__ import annotations

from typing import Any

import structlog

from service.config.model import Model
from service.evaluation.signal import Signal
from service.history.alarms import Alarms
from service.history.verb import Verb
from service.history.verbs import Alarm, Freeze, Order, Quarantine, Rollback
from service.metrics.declared import Metrics

log = structlog.get_logger()


class Consequences:
    """Of one model's signals. An open alarm makes the next one no news; it keeps nothing from being
    done.

    Parameters
    ----------
    spec
        Its ``guard`` says what is done.
    alarms
        Those that are open.
    """

    def __init__(self, spec: Model, metrics: Metrics, alarms: Alarms) -> None:
        self._spec = spec
        self._metrics = metrics
        self._alarms = alarms

    def of_line(self, line: str, seq: int, signal: Signal, dropped: list[int]) -> Order:
        """The labels of ``line``, and no other's, stopped teaching; candidates were ``dropped``."""
        known = repr(line) if line else "the rows that name no line"
        verb: Verb = Quarantine(line)
        if self._spec.guard == "alarm":
            verb = Alarm(again=self._alarms.is_open("line", line))
        reason = (
            f"line {known}: {signal.message}; of the other lines this is not so. To unlearn what "
            f"it taught since: apical snapshots rebase --without {signal.cause[0]}..{seq} "
            f"--line {line!r}"
        )
        self._tell("line", verb, signal.cause, reason, line=line)
        said = {"signal": "line", "of": line, "statistic": signal.statistic, "discarded": dropped}
        return Order(self._spec.name, verb, "guard", reason, True, signal.cause, said)

    def of(self, signal: Signal, dropped: list[int], champion: int) -> list[Order]:
        """The labels of the whole model stopped teaching, or mean something else than before."""
        said = {
            "signal": signal.kind,
            "statistic": signal.statistic,
            "p_value": signal.p_value,
            "discarded": dropped,
        }
        act = self._spec.guard if signal.kind == "guard" else "alarm"
        verbs: list[Verb] = [Freeze()]
        if act == "alarm":
            verbs = [Alarm(again=self._alarms.is_open(signal.kind))]
        elif act == "rollback":
            verbs.append(Rollback(champion))
        self._tell(signal.kind, verbs[0], signal.cause, signal.message)
        return [
            Order(self._spec.name, verb, "guard", signal.message, True, signal.cause, said)
            for verb in verbs
        ]

    def _tell(self, kind: str, verb: Verb, cause: tuple[int, int], said: str, **of: Any) -> None:
        name = self._spec.name
        self._metrics.guard_signals.labels(name, kind if verb.told else "grouped").inc()
        if verb.told:
            log.warning(kind, model=name, cause=cause, message=said, **of)
