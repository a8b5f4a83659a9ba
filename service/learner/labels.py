"""Which labels of a late submission teach, and what is said of each row."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from service.history.lessons import Lesson
from service.rows import UNKNOWN, Labels
from service.state import State

Mask = NDArray[np.bool_]


class Ruling(NamedTuple):
    """A submission of labels for rows some of whose labels are known; each mask is (B,) bool.

    Parameters
    ----------
    given
        Rows that it has a label for.
    same
        Rows whose label is known to be this one.
    other
        Rows whose label is known to be another one.
    teach
        Rows that are learned: those not labelled before, and ``other`` where it relabels.
    """

    given: Mask
    same: Mask
    other: Mask
    teach: Mask

    @classmethod
    def of(cls, known: Labels, labels: Labels, relabel: bool) -> Self:
        """``known`` and ``labels`` are (B,) class indices, `UNKNOWN` where there is none."""
        given = labels != UNKNOWN
        fresh = given & (known == UNKNOWN)
        same = given & (known == labels)
        other = given & ~fresh & ~same
        return cls(given, same, other, fresh | other if relabel else fresh)

    def outcomes(self, learned: Mask, otherwise: str = "frozen") -> list[str]:
        """A word for each row; ``learned`` (B,) marks those that did teach, ``otherwise`` is said
        of those that should have."""
        said: list[str] = np.select(
            [~self.given, self.same, self.other & ~self.teach, ~learned, self.other],
            ["unlabelled", "known", "contradicts", otherwise, "relabelled"],
            "learned",
        ).tolist()
        return said


def of_batch(labels: Labels, learned: list[bool], otherwise: str = "frozen") -> list[str]:
    """A word for each row of a batch that came with its labels; ``otherwise`` for a label that was
    not learned."""
    return [
        "unlabelled" if label == UNKNOWN else "learned" if taught else otherwise
        for label, taught in zip(labels, learned, strict=True)
    ]


def aside(state: State, line: str | None) -> bool:
    """Whether the labels of a line are kept and teach nobody."""
    return (line or "") in state.quarantined


def held_by(state: State, lesson: Lesson) -> str | None:
    """What keeps a lesson from teaching, in a word."""
    return "frozen" if state.frozen else "quarantined" if lesson.set_aside else None
