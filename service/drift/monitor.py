"""All detectors of one model together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.drift.alarm import Alarm, Statistic
from service.drift.concept import ConceptDetector
from service.drift.inputs import InputDetector
from service.drift.predictions import PredictionDetector
from service.drift.reference import Reference

# Shares of the false alarms allowed to each question.
SHARES = {"inputs": 0.7, "concept": 0.2, "predictions": 0.1}


class Monitor:
    """Watches one model's inputs, predictions and loss against a `Reference`.

    `rows_per_false_alarm`: with all detectors together, one false alarm in about so many rows.
    What the reference does not know (predictions, loss) is not watched.

    >>> rng = np.random.default_rng(0)
    >>> reference = Reference.of(rng.normal(size=(4000, 2)), ["temp_c", "bar"])
    >>> monitor = Monitor(reference)
    >>> monitor.update(rng.normal(size=(500, 2)))
    []
    >>> [alarm.feature for alarm in monitor.update(rng.normal(size=(500, 2)) + [0, 1])]
    ['bar']
    """

    def __init__(self, reference: Reference, rows_per_false_alarm: int = 200_000) -> None:
        self._rate = 1 / rows_per_false_alarm
        self.renew(reference)

    def renew(self, reference: Reference) -> None:
        """Start over against `reference`: nothing raised, all windows empty."""
        rate = self._rate
        self.reference = reference
        self._inputs = InputDetector(reference.features, reference.inputs, rate * SHARES["inputs"])
        self._predictions = (
            None
            if reference.predictions is None
            else PredictionDetector(reference.predictions, rate * SHARES["predictions"])
        )
        self._concept = (
            None
            if reference.loss is None
            else ConceptDetector(reference.loss, rate * SHARES["concept"])
        )

    def update(
        self,
        x: NDArray[np.floating],
        probabilities: NDArray[np.floating] | None = None,
        loss: NDArray[np.floating] | None = None,
    ) -> list[Alarm]:
        """Take rows in order of arrival, any number at a time; the alarms that rise with them.

        `x` `(B, F)` raw readings, NaN for missing; `probabilities` `(B, K)`; `loss` `(B,)`, NaN
        where unlabelled, or None where nothing is.
        """
        alarms = self._inputs.update(x)
        if probabilities is not None and self._predictions is not None:
            alarms += self._predictions.update(probabilities)
        if loss is not None and self._concept is not None:
            alarms += self._concept.update(loss)
        return alarms

    def statistics(self) -> list[Statistic]:
        """Every statistic as of the last whole block, with its threshold and whether raised."""
        found = self._inputs.statistics()
        if self._predictions is not None:
            found += self._predictions.statistics()
        if self._concept is not None:
            found += self._concept.statistics()
        return found
