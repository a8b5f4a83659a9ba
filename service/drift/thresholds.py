"""Sliding means against their thresholds, and the latch that tells a crossing once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.drift.windows import BLOCK, SlidingMeans

Array = NDArray[np.float64]

# A raised alarm is taken back once its statistic is under this fraction of the threshold.
RELEASE = 0.7


class Watch:
    """Watches S series over W windows: whose mean left its bounds, and who is back.

    `windows` `(W,)` rows, `thresholds` `(W, S)` positive; of the first `two_sided` series a fall
    counts as well as a rise. After each block, `ratio`, `worst` and `mean` `(S,)` hold, per series,
    the greatest statistic / threshold, the index of its window and that window's mean (signed).
    """

    def __init__(self, windows: NDArray[np.int64], thresholds: Array, two_sided: int) -> None:
        count = thresholds.shape[1]
        self._means = SlidingMeans(windows, count)
        self._series = np.arange(count)
        self._inverse = 1 / thresholds
        self._two_sided = two_sided
        self.windows = windows
        self.thresholds = thresholds
        self.raised = np.zeros(count, dtype=bool)
        self.ratio = np.zeros(count)
        self.worst = np.zeros(count, dtype=np.int64)
        self.mean = np.zeros(count)

    def push(self, rows: Array) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Take whole blocks of rows `(N * BLOCK, S)`; yield (rows so far, crossed `(S,)`).

        Yielded are the blocks at which some series is over its threshold and not raised. The caller
        sets `raised` for those it tells of; here they are only taken back.
        """
        start = self._means.seen * BLOCK
        means = self._means.push(rows.reshape(-1, BLOCK, rows.shape[1]).sum(axis=1))
        ratio = means * self._inverse
        both = ratio[:, :, : self._two_sided]
        np.abs(both, out=both)
        if ratio.max() <= 1 and not self.raised.any():
            self._note(means[-1], ratio[-1])
            return
        # From change to change: a line that stays off its reference costs little more than one
        # that is well.
        greatest = ratio.max(axis=1)
        over, back = greatest > 1, greatest < RELEASE
        i = 0
        while True:
            changes = np.where(self.raised, back[i:], over[i:]).any(axis=1)
            found = int(changes.argmax()) if len(changes) else 0
            if not len(changes) or not changes[found]:
                break
            i += found
            self._note(means[i], ratio[i])
            crossed = over[i] & ~self.raised
            self.raised &= ~back[i]
            i += 1
            if crossed.any():
                yield start + i * BLOCK, crossed
        self._note(means[-1], ratio[-1])

    def threshold(self, series: int) -> float:
        """The threshold of the window nearest to its own, for one series; infinite if none has."""
        return float(self.thresholds[self._nearest(series), series])

    def window(self, series: int) -> int:
        """The length of that window, rows."""
        return int(self.windows[self._nearest(series)])

    def _nearest(self, series: int) -> int:
        worst = int(self.worst[series])
        if np.isfinite(self.thresholds[worst, series]):
            return worst
        # Nothing has happened in any window: name one that could tell.
        return int(self.thresholds[:, series].argmin())

    def _note(self, means: Array, ratio: Array) -> None:
        self.worst = ratio.argmax(axis=0)
        self.ratio = ratio[self.worst, self._series]
        self.mean = means[self.worst, self._series]
