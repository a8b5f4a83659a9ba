"""What the guard says, once it is sure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from service.evaluation.suspicion import Suspicion, proportions


@dataclass(frozen=True, slots=True)
class Signal:
    """What the guard has to say, once.

    ``guard``: stop learning. ``concept_changed``: the labels mean something else than before, and
    consistently so; whether the process changed or the labelling, only people know.

    ``cause`` is the range of events, first and last `seq`, that the signal rests on. ``statistic``
    is a standard score: of the champion's errors during the suspicion against those before; where
    the learner fell below the champion, of its disadvantage; where the concept changed, of its
    advantage. ``p_value`` is one-sided, that of ``concept_changed`` the inverse of a wealth, which
    holds however often one looked.
    """

    kind: Literal["guard", "concept_changed"]
    cause: tuple[int, int]
    statistic: float
    p_value: float
    message: str


def changed(seq: int, suspicion: Suspicion) -> Signal:
    """The learner is better than the champion since event ``suspicion.first_seq``."""
    rows, (champion, _) = len(suspicion.learner), suspicion.pasts
    mine, its = sum(suspicion.learner) / rows, sum(suspicion.champion) / rows
    return Signal(
        "concept_changed",
        (suspicion.first_seq, seq),
        -suspicion.paired(rows),
        math.exp(-suspicion.better.log),
        f"the concept changed: over {rows} labelled rows the champion errs in {its:.1%}, "
        f"{champion.rate:.1%} before, while the learner, which goes on learning, errs in "
        f"{mine:.1%}",
    )


def stopped(seq: int, suspicion: Suspicion) -> Signal:
    """Neither of the two is as good as it was, or the learner alone is not."""
    rows, (champion, learner) = len(suspicion.learner), suspicion.pasts
    mine, its = sum(suspicion.learner), sum(suspicion.champion)
    numbers = (
        f"over {rows} labelled rows the learner errs in {mine / rows:.1%}, {learner.rate:.1%} "
        f"before, the champion in {its / rows:.1%}, {champion.rate:.1%} before"
    )
    said = "the labels stopped teaching"
    if suspicion.kind == "below":
        said, score = "the learner fell below the champion and stays there", suspicion.paired(rows)
    else:
        errors, past = (mine, learner) if suspicion.kind == "learner" else (its, champion)
        score = proportions(errors, rows, past.errors, max(past.rows, 1))
    cause = suspicion.first_seq, seq
    return Signal("guard", cause, score, NormalDist().cdf(-score), f"{said}: {numbers}")
