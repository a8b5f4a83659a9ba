"""Did the predictions move? The mix of predicted classes and the confidence in them."""

from __future__ import annotations

from itertools import chain

import numpy as np
from numpy.typing import NDArray

from service.drift.alarm import Alarm, Statistic
from service.drift.series import SeriesStatistics
from service.drift.thresholds import Watch
from service.drift.windows import RowBlocks

Array = NDArray[np.float64]


def prediction_series(outputs: Array) -> Array:
    """`(B, K + 1)` for probabilities `(B, K)`: each class's, and the largest (the confidence).

    Of two classes one says it all, so K = 2 gives `(B, 2)`; K = 1 is a regression's output, as is.
    """
    if outputs.shape[1] == 1:
        return outputs
    first = 1 if outputs.shape[1] == 2 else 0
    return np.concatenate([outputs[:, first:], outputs.max(axis=1, keepdims=True)], axis=1)


class PredictionDetector:
    """Compares the mean predicted probabilities of sliding windows with the reference's.

    `rate_per_row` is how often it may cry wolf, all its series together.

    >>> rng = np.random.default_rng(0)
    >>> p = rng.beta(2, 2, size=(4000, 1))
    >>> both = np.hstack([p, 1 - p])
    >>> detector = PredictionDetector(SeriesStatistics.of(prediction_series(both)), 1e-6)
    >>> detector.update(both)
    []
    >>> [alarm.kind for alarm in detector.update(np.hstack([p**2, 1 - p**2]))]
    ['predictions']
    """

    def __init__(self, reference: SeriesStatistics, rate_per_row: float) -> None:
        count = len(reference.mean)
        self._reference = reference
        self._blocks = RowBlocks(count)
        thresholds = reference.thresholds(rate_per_row / count)
        self._watch = Watch(reference.windows, thresholds, two_sided=count)

    def update(self, probabilities: NDArray[np.floating]) -> list[Alarm]:
        """Take `(B, K)` probabilities (or outputs) in order of arrival; the alarms that rise."""
        blocks = self._blocks.push(prediction_series(np.asarray(probabilities, dtype=np.float64)))
        alarms = []
        watch = self._watch
        for seen, crossed in chain.from_iterable(
            watch.push(self._reference.standardised(rows)) for rows in blocks
        ):
            # One mix of predictions, one alarm: the classes' shares cannot move one by one.
            if not watch.raised.any():
                i = int(np.where(crossed, watch.ratio, 0).argmax())
                statistic, threshold, window = watch.mean[i], watch.threshold(i), watch.window(i)
                sentence = (
                    f"the predictions moved: the mean of {self._name(i)} over the last {window} "
                    f"rows is {statistic:+.2f} reference sd off; {threshold:.2f} is usual"
                )
                alarms.append(
                    Alarm(
                        "predictions",
                        "predictions",
                        None,
                        float(statistic),
                        threshold,
                        window,
                        seen,
                        sentence,
                    )
                )
            watch.raised |= crossed
        return alarms

    def statistics(self) -> list[Statistic]:
        """One per series: each class's probability, and the confidence."""
        watch = self._watch
        return [
            Statistic(
                "predictions",
                "predictions",
                self._name(i),
                None,
                float(watch.mean[i]),
                watch.threshold(i),
                watch.window(i),
                bool(watch.raised[i]),
            )
            for i in range(len(watch.mean))
        ]

    def _name(self, series: int) -> str:
        count = len(self._reference.mean)
        if count == 1:
            return "output"
        if series == count - 1:
            return "confidence"
        return f"probability_{series + (1 if count == 2 else 0)}"
