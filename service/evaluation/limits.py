"""Where gate and guard draw their lines; `docs/guard-power.md` says what follows from them."""

CERTAIN = 1e9
"""The statistic of rows that differ by exactly as much each: beyond any doubt, and yet a number,
which infinity is not in JSON."""

JUMP_LIMIT = 5.0
"""Log-likelihood ratio at which the champion's loss has jumped. A false suspicion costs nothing but
a later verdict of the gate."""

BACK_LIMIT = 6.9
"""Log-likelihood ratio at which the learner is back at its loss from before: -log(0.001)."""

BETTER_ALPHA = 0.005
"""Chance that a learner which is not better than the champion is called so, per suspicion."""

BELOW_ALPHA = 1e-4
"""Of a learner that is not below the champion: per suspicion, and per row where there is none."""

LEADING_SCORE = 1.645
"""Standard score, over the last rows of a suspicion, at which learner or champion is ahead."""

LEANING_SCORE = -0.5
"""A learner that is ahead of the champion by so much when its time is up gets more. While rows of
an old and a new concept mix, neither is learned before the new one prevails."""

AHEAD_SCORE = -1.28
"""The same over the whole suspicion: one in ten learners of pure noise is ahead by so much."""

CLEAR_RISE = 0.18
"""The guard fires after `guard_rows` when the champion's error rate has risen by so much: three
labels in ten are wrong, or half of those whose class changed."""

PLAIN_RISE = 0.24
"""At the end of a suspicion a learner that errs by so much more than before, and does not learn any
more, has not learned, whatever its champion does: three labels in ten that are wrong cost it as
much, and a regime that is only harder less."""

LEAST_RISE = 0.12
"""With a smaller rise it waits `PATIENCE` times as long, for so does a process that slowly changes;
below this one it does not fire at all."""

MOVED = 0.2
"""Part of a suspicion's rows that are none like those before, above which the inputs moved; of rows
that did not move a tenth are."""

TREND = 1.5
"""Standard score at which the champion's errors still become more frequent: what is poisoned is so
from one row to the next, what changes slowly goes on changing. The guard waits."""

LAST_TREND = 2.5
"""The same at the end of a suspicion. The guard does not fire."""

PATIENCE = 5
"""Times `guard_rows`: the end of every suspicion."""

TELLING_ROWS = 20
"""Of a suspicion, from which on it accuses the labels only if the champion errs by `LEAST_RISE`
more often in them: what raised it may have been chance, or the learner. And of another line, before
it is known to be as it was."""
