"""Labels that come later than their rows: by so many batches, or by a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from service.tables.sending import Part


@dataclass(frozen=True)
class Delay:
    """How much later; neither: with their rows."""

    batches: int = 0
    seconds: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.batches or self.seconds)


class Late:
    """Parts that were sent and whose labels are still to come, in the order of their rows."""

    def __init__(self, delay: Delay) -> None:
        self._delay = delay
        self._waiting: deque[tuple[float, Part]] = deque()
        self._now = float("-inf")

    def add(self, part: Part, at: float | None) -> None:
        """A part was sent at a time in seconds; None where its rows do not tell."""
        # A clock that goes back, as at the end of summer time, delays nothing twice.
        self._now = max(self._now, self._now if at is None else at)
        self._waiting.append((self._now + self._delay.seconds, part))

    def due(self, at: float | None = None) -> Iterator[Part]:
        """Take out the parts whose labels have come by the latest part's time, or by ``at``."""
        now = self._now if at is None else max(self._now, at)
        while self._waiting and (
            len(self._waiting) > self._delay.batches
            if self._delay.batches
            else self._waiting[0][0] <= now
        ):
            yield self._waiting.popleft()[1]

    def rest(self) -> Iterator[tuple[float, Part]]:
        """Take out those that are left, with the time at which their labels come."""
        while self._waiting:
            yield self._waiting.popleft()

    @property
    def first_row(self) -> int | None:
        """Where the first of them begins."""
        return self._waiting[0][1].start if self._waiting else None
