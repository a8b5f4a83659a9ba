"""Labels of a line come in blocks: which rows are evidence of their own, and whether labels change
far more often than they used to."""

from __future__ import annotations

from collections.abc import Iterable

from service.evaluation.suspicion import JUMP, LEAST_PAST_ROWS, Past
from service.rows import UNKNOWN

RUN_ROWS = 3
"""Errors in one block of equal labels that are evidence, each."""

RUN_EVERY = 50
"""After those, one error in so many is."""

FLUTTER = 4
"""Labels that change so many times as often as they used to are not the line's own."""

FLUTTER_ROWS = 50
"""Rows over which that is told, at least."""


class Runs:
    """Which rows of one line are evidence of their own.

    Labels of a line come in blocks, and a network that does not know a block errs in much of it:
    that is one mistake, however many rows it lasts. So while the label stays what it was, only the
    first `RUN_ROWS` rows on which either network errs count, and then one in `RUN_EVERY`; a
    flipped label ends its block, so its errors all count. Rows on which both are right always
    count. What is left is closer to independent than the rows are (blocks of dependent data as
    units: Künsch 1989, *The jackknife and the bootstrap for general stationary observations*).
    """

    def __init__(self, kept: Iterable[int] = (UNKNOWN, 0)) -> None:
        self.label, self.errors = kept

    def switched(self, label: int) -> bool:
        """Take the next row's label: is it another than the one before?"""
        if label == self.label:
            return False
        first = self.label == UNKNOWN
        self.label, self.errors = label, 0
        return not first

    def counts(self, learner: int, champion: int) -> bool:
        """Take both errors of that row, 0 or 1: is it evidence?"""
        if not learner and not champion:
            return True
        self.errors += 1
        return self.errors <= RUN_ROWS or self.errors % RUN_EVERY == 0

    def to_list(self) -> list[int]:
        """``Runs`` of it is this one again."""
        return [self.label, self.errors]


def fluttering(switches: int, rows: int, usual: Past, livelier: float = 0.0) -> bool:
    """Do labels change far more often than the line's own past says, of lines whose labels change
    by ``livelier`` more often than all do?"""
    return rows >= FLUTTER_ROWS and switches / rows >= flutter(usual) + livelier


def begins(usual: Past) -> bool:
    """Whether the latest labels flutter: for each row that is labelled, so it must be cheap."""
    if usual.rows < LEAST_PAST_ROWS:
        return False
    # The first is enough for the second, and for most lines: it takes no root.
    if usual.errors * FLUTTER > usual.rows or flutter(usual) > 1:
        return False
    last = list(usual.recent)[-FLUTTER_ROWS:]
    return fluttering(sum(last), len(last), usual)


def flutter(usual: Past) -> float:
    """The rate of changes from which on they are far more often; beyond 1 nothing is."""
    upper = usual.upper
    return max(FLUTTER * upper, upper + JUMP)
