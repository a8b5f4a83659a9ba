"""Frozen networks beside the learner, and the labelled rows that they can be asked about."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.evaluation.novelty import Novelty
from service.evaluation.silence import Silence
from service.evaluation.suspicion import LEAST_PAST_ROWS
from service.kernels.kernel import Kernel
from service.learner.taken import Lessoned
from service.rows import UNKNOWN, Labels, Probabilities, Rows
from service.state import State

WINDOW_ROWS = 500
"""Labelled rows behind the error ratios that are shown, and behind a new champion's past."""


KEPT_ROWS = 1_000
"""Of the latest labelled rows."""

PRESENT_ROWS = 200
"""Of these may belong to what is suspected already."""


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


class Before(NamedTuple):
    """What was so before a suspicion began: labelled rows, which of the rows since are novel, and
    which sensors fell silent."""

    rows: Rows
    labels: Labels
    novelty: Novelty
    silence: Silence


class Recent:
    """The latest labelled rows, at least `KEPT_ROWS` of them where there were so many; ``values``
    are those of `Novelty`."""

    def __init__(self, kernel: Kernel, values: tuple[int, ...]) -> None:
        self._kernel = kernel
        self._values = values
        self._batches = deque[tuple[str, Rows, Labels]]()
        self._rows = 0
        self._before: Before | None = None
        self._handicap: tuple[object, float] = None, 0.0

    def add(self, line: str, rows: Rows, labels: Labels) -> None:
        self._batches.append((line, rows, labels))
        self._rows += len(rows)
        while self._rows - len(self._batches[0][1]) >= KEPT_ROWS:
            self._rows -= len(self._batches.popleft()[1])

    def novel(self, rows: Rows, *, asked: bool) -> NDArray[np.bool_] | None:
        """(B,) which of ``rows`` are none like those before it was first ``asked``; None while it
        is not."""
        if not asked:
            self._before = None
            return None
        if self._before is None:
            # Of large requests the one that raised the suspicion, and the present one.
            lately = sum(len(rows) for _, rows, _ in list(self._batches)[-2:])
            present = max(PRESENT_ROWS, lately)
            known = np.concatenate([rows[:0], *[r for _, r, _ in self._batches]])[:-present]
            said = np.concatenate([np.zeros(0, np.int64), *[l for _, _, l in self._batches]])
            told = Novelty(known, self._values), Silence(known)
            labelled = said[: len(known)] != UNKNOWN
            taught = known[labelled], said[: len(known)][labelled]
            self._before = Before(*taught, *told)
            self._handicap = None, 0.0
        self._before.silence.hear(rows)
        return self._before.novelty.of(rows)

    def handicap(self, network: Shadow) -> float | None:
        """By how much more often ``network`` errs on rows from before `novel` was first asked if
        it does not see of them what fell silent since; None where that is not known."""
        before = self._before
        if before is None or len(before.rows) < LEAST_PAST_ROWS:
            return None
        fallen = before.silence.fallen
        if not fallen:
            return 0.0
        # What stands still in another place is another loss.
        of = network.version, repr(sorted(fallen.items()))
        if self._handicap[0] != of:
            both = before.rows, before.silence.without(before.rows)
            was, now = (
                (self._kernel.forward(network.state, rows).argmax(1) != before.labels).mean()
                for rows in both
            )
            self._handicap = of, max(0.0, float(now - was))
        return self._handicap[1]

    def errors_of(self, network: Shadow) -> tuple[list[int], dict[str, list[int]]]:
        """0 or 1 per row, oldest first: what a network gets wrong; and the same line by line."""
        if not self._batches:
            return [], {}
        rows = np.concatenate([rows for _, rows, _ in self._batches])
        labels = np.concatenate([labels for _, _, labels in self._batches])
        whose = [line for line, rows, _ in self._batches for _ in rows]
        wrong = self._kernel.forward(network.state, rows).argmax(1) != labels
        by_line: dict[str, list[int]] = {}
        found = []
        for line, label, error in zip(whose, labels.tolist(), wrong.tolist(), strict=True):
            if label != UNKNOWN:
                found.append(int(error))
                by_line.setdefault(line, []).append(int(error))
        return found[-WINDOW_ROWS:], by_line
