"""Did the concept move? The prequential loss, which only an increase of is an alarm."""

from __future__ import annotations

from itertools import chain

import numpy as np
from numpy.typing import NDArray

from service.drift.alarm import Alarm, Statistic
from service.drift.series import SeriesStatistics
from service.drift.thresholds import Watch
from service.drift.windows import RowBlocks

Array = NDArray[np.float64]


class ConceptDetector:
    """Compares the mean prequential loss of sliding windows of labelled rows with the reference's.

    One-sided: a loss that falls is learning. `rate_per_row` is how often it may cry wolf. The loss
    is made before the update (Gama et al. 2013, On evaluating stream learning algorithms, sec. 3).

    >>> rng = np.random.default_rng(0)
    >>> loss = rng.uniform(size=4000) < 0.05
    >>> detector = ConceptDetector(SeriesStatistics.of(loss[:, None].astype(float)), 1e-6)
    >>> detector.update(loss)
    []
    >>> [alarm.kind for alarm in detector.update(rng.uniform(size=1000) < 0.25)]
    ['concept']
    """

    def __init__(self, reference: SeriesStatistics, rate_per_row: float) -> None:
        self._reference = reference
        self._blocks = RowBlocks(1)
        # Half of a two-sided rate's crossings would be falls.
        thresholds = reference.thresholds(2 * rate_per_row)
        self._watch = Watch(reference.windows, thresholds, two_sided=0)

    def update(self, loss: NDArray[np.floating]) -> list[Alarm]:
        """Take the losses `(B,)` of rows in order of labelling, NaN for unlabelled ones."""
        loss = np.asarray(loss, dtype=np.float64)
        blocks = self._blocks.push(loss[np.isfinite(loss)][:, None])
        alarms = []
        watch = self._watch
        for seen, _ in chain.from_iterable(
            watch.push(self._reference.standardised(rows)) for rows in blocks
        ):
            watch.raised[:] = True
            statistic, threshold, window = float(watch.mean[0]), watch.threshold(0), watch.window(0)
            usual = float(self._reference.mean[0])
            now = usual + statistic * float(self._reference.scale[0])
            sentence = (
                f"the concept moved: the mean loss of the last {window} labelled rows is "
                f"{now:.3g} where {usual:.3g} is usual"
            )
            alarms.append(
                Alarm("concept", "concept", None, statistic, threshold, window, seen, sentence)
            )
        return alarms

    def statistics(self) -> list[Statistic]:
        """The one statistic of the loss."""
        watch = self._watch
        return [
            Statistic(
                "concept",
                "concept",
                "loss",
                None,
                float(watch.mean[0]),
                watch.threshold(0),
                watch.window(0),
                bool(watch.raised[0]),
            )
        ]
