"""How much time has passed for what is remembered, whoever sets the clock on the wall."""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST_STOP_S = 86400.0
"""While a process is down no more time than this is taken to have passed: nobody can tell a long
stop from a clock that was set."""


class LineTime:
    """Seconds that only ever go forward, and never jump: what is remembered ages by them.

    Parameters
    ----------
    latest
        When the latest of what is remembered was received, in these seconds; None where there is
        nothing. Then they start as unix seconds.
    wall, steady
        Unix seconds, and seconds that nobody sets.
    """

    def __init__(
        self,
        latest: float | None,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        now = wall()
        if latest is not None:
            now = latest + min(max(now - latest, 0.0), LONGEST_STOP_S)
        self._start = now
        self._steady = steady
        self._began = steady()

    def now(self) -> float:
        return self._start + self._steady() - self._began
