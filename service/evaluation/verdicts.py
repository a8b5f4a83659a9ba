"""What a suspicion comes to: an acquittal, a concept that changed, labels that stopped teaching, or
nothing yet."""

from __future__ import annotations

import math
from typing import Literal

from service.evaluation.limits import (
    AHEAD_SCORE,
    BACK_LIMIT,
    BELOW_ALPHA,
    BETTER_ALPHA,
    CLEAR_RISE,
    LAST_TREND,
    LEADING_SCORE,
    LEANING_SCORE,
    LEAST_RISE,
    MOVED,
    PATIENCE,
    PLAIN_RISE,
    TREND,
)
from service.evaluation.suspicion import BELOW_MARGIN, JUMP, Past, Suspicion, trend
from service.evaluation.switches import fluttering

Verdict = Literal["changed", "stopped", "back", "acquitted"]


def judged(suspicion: Suspicion, switches: Past, guard_rows: int) -> Verdict | None:
    """After a row of the suspicion; ``switches`` are those of before it. None: it goes on."""
    rows, (champion, learner) = len(suspicion.learner), suspicion.pasts
    livelier = suspicion.mixture.switches
    flutters = fluttering(suspicion.switches, suspicion.rows, switches, livelier)
    if suspicion.better.exceeds(BETTER_ALPHA) and suspicion.learns(learner) and not flutters:
        return "changed"
    # What silent sensors explain is no excuse where the labels themselves are not as ever.
    excused = learner.handicap
    if learner.known and suspicion.back >= BACK_LIMIT and not (excused and flutters):
        return "back"
    # Poison hurts both; where the champion errs less than before, its own concept is back.
    worse = sum(suspicion.champion) >= champion.rate * rows
    if suspicion.kind == "jump" and worse and suspicion.below.exceeds(BELOW_ALPHA):
        return "stopped"
    if rows < guard_rows:
        return None
    rise = sum(suspicion.learner) / rows - learner.rate + excused
    if flutters and rise >= CLEAR_RISE:
        # Labels that change at random teach a network something, a poor one less: to be better
        # than the champion is no excuse.
        return "stopped"
    if not (champion.known and learner.known):
        # Begun for the labels' sake, which are as ever by now; there is no past to judge by.
        return "acquitted"
    return _overdue(suspicion, guard_rows)


def accused(suspicion: Suspicion, guard_rows: int) -> bool:
    """Where it is known to be no drift: do both networks err more over the last rows, half of
    ``guard_rows``, or after ``guard_rows`` surely by `LEAST_RISE` over the whole suspicion?"""
    rows, half = len(suspicion.learner), guard_rows // 2
    if rows < half:
        return False
    lately = _both(suspicion, half)
    if lately >= CLEAR_RISE:
        return True
    rate = max(past.rate for past in suspicion.pasts)
    doubt = LEADING_SCORE * math.sqrt(rate * (1 - rate) / rows)
    overall = _both(suspicion, rows)
    return rows >= guard_rows and lately >= LEAST_RISE and overall >= LEAST_RISE + doubt


def _both(suspicion: Suspicion, rows: int) -> float:
    """By how much more often than before either network errs, over the last ``rows``."""
    champion, learner = suspicion.pasts
    mine = sum(suspicion.learner[-rows:]) / rows - learner.rate
    its = sum(suspicion.champion[-rows:]) / rows - champion.rate
    return min(mine, its)


def _overdue(suspicion: Suspicion, guard_rows: int) -> Verdict | None:
    """Nothing was proved in time: what is likely?"""
    rows, (champion, learner) = len(suspicion.learner), suspicion.pasts
    half = guard_rows // 2
    score = suspicion.paired(half)
    # The inputs moved too: a regime that appears for the first time gets its time.
    first = sum(suspicion.novel[:guard_rows])
    moved = first > MOVED * guard_rows or sum(suspicion.novel) > MOVED * rows
    if suspicion.kind == "below":
        # A learner that comes back to a concept which the champion never left is below it at
        # first; what counts is whether it still is.
        below = (sum(suspicion.learner[-half:]) - sum(suspicion.champion[-half:])) / half
        return "stopped" if below > BELOW_MARGIN and score >= LEADING_SCORE else "acquitted"
    rise = sum(suspicion.champion) / rows - champion.rate
    clear = sum(suspicion.learner[-half:]) / half - learner.rate >= CLEAR_RISE
    # Where the champion errs clearly less than before, its own concept is back; unless it errs far
    # more than a network does that knows what it is asked.
    lost_too = sum(suspicion.champion) / rows - learner.rate >= LEAST_RISE
    back = rise <= -LEAST_RISE and not lost_too
    # One that was left behind has less to lose: then it is the learner that tells. What can be
    # learned is learned by and by, and what comes to prevail does so by and by.
    behind = champion.rate - learner.rate >= JUMP / 2 and clear and not back
    rising = trend(suspicion.champion)
    steady = abs(trend(suspicion.learner)) < TREND and rising < LAST_TREND
    lost_by = sum(suspicion.learner) / rows - learner.rate
    lost = lost_by >= CLEAR_RISE
    if behind and steady and lost and not moved and rows >= 2 * guard_rows:
        return "stopped"
    # Nor is it learning still, nor has it learned what the champion does not know.
    gain = (sum(suspicion.champion) - sum(suspicion.learner)) / rows
    falling = trend(suspicion.learner[-2 * guard_rows :]) <= -LAST_TREND
    stuck = clear and lost_by >= PLAIN_RISE and not falling and gain < CLEAR_RISE
    if suspicion.kind == "learner":
        if rows < PATIENCE * guard_rows:
            return None
        return "stopped" if clear and lost else "acquitted"
    if moved and rows < PATIENCE * guard_rows:
        return None
    if rows >= PATIENCE * guard_rows:
        if gain >= CLEAR_RISE and suspicion.better.exceeds(BETTER_ALPHA):
            # It is far better by now, and never will be as good as it was: a harder concept.
            return "changed"
        # A new concept that has come to prevail: the learner wins since, lost before.
        prevails = rise < LEAST_RISE or rising >= LAST_TREND or score <= -LEADING_SCORE
        if stuck and (behind or rise >= LEAST_RISE):
            return "stopped"
        return "acquitted" if prevails else "stopped"
    if rise < LEAST_RISE / (2 if rows < 2 * guard_rows else 1):
        # It was nothing. A suspicion that drags on would blur what comes next.
        return None if behind or (lost and not back) else "acquitted"
    # A slow rise shows the better the longer it is watched, and it is looked at every row.
    bound = TREND if rows < 2 * guard_rows else 0.0
    ahead = score <= LEANING_SCORE or suspicion.paired(rows) <= AHEAD_SCORE
    # A spell of rows that both had forgotten, and that is over, is no poison.
    still = sum(suspicion.champion[-half:]) / half - champion.rate >= LEAST_RISE
    return "stopped" if rise >= CLEAR_RISE and still and rising < bound and not ahead else None
