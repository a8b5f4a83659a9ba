"""Frozen networks beside the learner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from service.kernels.kernel import Kernel
from service.learner.taken import Lessoned
from service.rows import Probabilities
from service.state import State

WINDOW_ROWS = 500
"""Labelled rows behind the error ratios that are shown, and behind a new champion's past."""


class Shadow(NamedTuple):
    """A snapshot's network."""

    version: int
    state: State

    @property
    def untrained(self) -> bool:
        """Whether it has never learned anything."""
        return self.state.steps == 0


class Asked:
    """What shadows say of lessons that became durable together: each is asked once about all their
    rows, for one row takes nearly as long as ten.

    Parameters
    ----------
    lessons
        Which must outlive this.
    """

    def __init__(self, kernel: Kernel, lessons: Sequence[Lessoned]) -> None:
        self._kernel = kernel
        self._rows = [lesson.rows for lesson in lessons]
        self._at = {id(lesson): index for index, lesson in enumerate(lessons)}
        self._said: dict[int, list[Probabilities]] = {}

    def of(self, shadow: Shadow, lesson: Lessoned) -> Probabilities:
        """(B, K) for the lesson's rows (B, n)."""
        found = self._said.get(shadow.version)
        if found is None:
            rows = self._rows[0] if len(self._rows) == 1 else np.concatenate(self._rows)
            whole = self._kernel.forward(shadow.state, rows)
            ends = np.cumsum([len(rows) for rows in self._rows])[:-1]
            found = self._said[shadow.version] = np.split(whole, ends)
        return found[self._at[id(lesson)]]
