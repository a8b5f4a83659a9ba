"""The means of many series over sliding windows of many lengths, all at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Rows per block: statistics are taken at block ends, so this is also the resolution of an alarm.
BLOCK = 16

# Half-octave steps: whatever a change's best window is, one within a factor 1.2 is watched.
WINDOWS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)


class SlidingMeans:
    """Means of S series over W windows, moved on a block at a time.

    `windows` `(W,)` are lengths in rows, multiples of `BLOCK`. Only cumulative sums at block ends
    are kept, so the mean of any window is one subtraction.

    >>> means = SlidingMeans(np.array([16, 32]), series=1)
    >>> means.push(np.array([[16.0], [48.0]]))[:, :, 0]
    array([[1., 0.],
           [3., 2.]])
    """

    def __init__(self, windows: NDArray[np.int64], series: int) -> None:
        self._blocks = windows // BLOCK
        self._per_row = 1 / windows[None, :, None]
        self._depth = int(self._blocks.max())
        self._cumulative = np.zeros((4 * self._depth + 4, series))
        self._end = self._depth + 1
        self.seen = 0

    def push(self, sums: Array) -> Array:
        """Take the sums `(N, S)` of N new blocks; return `(N, W, S)` means, one per block end.

        The mean of a window that is not full yet is 0, the reference's own mean.
        """
        count, start = len(sums), self._end
        if start + count > len(self._cumulative):
            kept = self._cumulative[start - self._depth - 1 : start].copy()
            start = len(kept)
            self._cumulative = np.zeros((4 * start + count, sums.shape[1]))
            self._cumulative[:start] = kept
        self._end = start + count
        self._cumulative[start : self._end] = sums
        # From the sum before on, one by one: what is found is the same bits however blocks come.
        sequence = self._cumulative[start - 1 : self._end]
        np.cumsum(sequence, axis=0, out=sequence)
        now = np.arange(start, self._end)
        then = now[:, None] - self._blocks
        means: Array = self._cumulative[now][:, None, :] - self._cumulative[then]
        means *= self._per_row
        if self.seen < self._depth:
            full = self._blocks <= self.seen + 1 + np.arange(count)[:, None]
            means *= full[:, :, None]
        self.seen += count
        return means


class RowBlocks:
    """Cuts rows that come in any number into whole blocks of `BLOCK` rows, `columns` wide.

    Statistics cost by the call more than by the row, so blocks are handed on at every `CALLS`th
    call, or with `ROWS` rows, whichever is sooner; what is found does not depend on it.
    """

    CALLS = 4
    ROWS = 128
    MOST = 512

    def __init__(self, columns: int) -> None:
        self._held = np.zeros((self.ROWS, columns))
        self._count = 0
        self._calls = 0

    def push(self, rows: NDArray[np.floating]) -> list[Array]:
        """Take `(B, columns)` rows; the whole blocks, as arrays `(N * BLOCK, columns)`.

        None of them is longer than `MOST` rows: what is computed of one stays in the processor's
        cache, and many rows at once cost no more a row than some.
        """
        count = self._count + len(rows)
        self._calls += 1
        if count < BLOCK or (self._calls < self.CALLS and count < self.ROWS):
            self._held[self._count : count] = rows
            self._count = count
            return []
        joined: Array = np.concatenate([self._held[: self._count], rows])
        whole = count - count % BLOCK
        self._calls = 0
        self._count = count - whole
        self._held[: self._count] = joined[whole:]
        return [joined[at : min(at + self.MOST, whole)] for at in range(0, whole, self.MOST)]
