"""What a detector says when it has something to say, and what it exports while it has not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Question = Literal["inputs", "concept", "predictions"]
Kind = Literal["shift", "variance", "stuck", "missing", "concept", "predictions"]


@dataclass(frozen=True, slots=True)
class Alarm:
    """One question's alarm, told once when it rises.

    `feature` is None where the question is not about a feature. `statistic` and `threshold` share
    a unit: reference standard deviations for shift, variance, concept and predictions, a fraction
    of the rows for missing and stuck. `window` is the number of rows the statistic was taken over,
    `rows` how many rows the detector had seen (labelled rows, for concept) when it spoke.
    """

    question: Question
    kind: Kind
    feature: str | None
    statistic: float
    threshold: float
    window: int
    rows: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Statistic:
    """The present value of one statistic, for export; units as in `Alarm`.

    Of the windows watched it is the one nearest to (or furthest over) its own threshold. `series`
    tells apart statistics that share a kind: two series can each say "variance".
    """

    question: Question
    kind: Kind
    series: str
    feature: str | None
    statistic: float
    threshold: float
    window: int
    raised: bool
