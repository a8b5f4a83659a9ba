"""Streams of one line or of five, some of them poisoned, some drifting.

`old`: two clusters per class of eight sensors, the noise AR(1) of coefficient 0.6, the class and
the cluster each staying as they were with probability 0.5. The clusters' distance is drawn per
seed, so that the accuracy of a trained network lies between about 85 and 97 percent.

`blocks`: noise AR(1) of coefficient 0.99, and the class in blocks of 200 to 2,000 rows, each with
one cluster of its class. `late_regimes`: as `old`, but from a row between 2,500 and 3,500 on every
other block of 200 to 2,000 rows comes from clusters that were never seen before, of all classes,
and of four classes the last is never seen before that. `lines`: as `old`, five lines that take
turns request by request, of which the third is the one that is poisoned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

SENSORS = 8
CLUSTERS = 2
NOISE_AR = 0.6
BLOCK_AR = 0.99
STAY = 0.5
WARM_UP = 4_000
POISON_ROWS = 2_000
GRADUAL_ROWS = 3_000
TURN_ROWS = 1_700
AFTER_ROWS = 7_000
BLOCK_ROWS = 200, 2_000
LINES = 5
BAD_LINE = 2
"""Of the five, which is poisoned; all rows of the others are clean."""

POISONS = ("flip_30", "flip_50", "flip_100")
DRIFTS = ("abrupt", "gradual", "incremental", "recurring")
FAMILIES = ("old", "blocks", "late_regimes", "lines")


@dataclass(frozen=True)
class Stream:
    """`x` `(n, 8)`, `labels` `(n,)` as the line sends them, `poisoned` `(n,)`: is it flipped?
    ``lines`` `(n,)` says whose rows they are, None where there is one line."""

    x: Array
    labels: Labels
    poisoned: NDArray[np.bool_]
    onset: int
    lines: Labels | None = None


def sticky(rng: np.random.Generator, rows: int, values: int) -> Labels:
    """`(rows,)` uniform values that stay with probability `STAY`, else are drawn anew."""
    drawn = rng.integers(values, size=rows)
    fresh = rng.random(rows) >= STAY
    fresh[0] = True
    found: Labels = drawn[np.maximum.accumulate(np.where(fresh, np.arange(rows), 0))]
    return found


def noise(rng: np.random.Generator, rows: int, coefficient: float = NOISE_AR) -> Array:
    """`(rows, 8)` AR(1) of unit variance."""
    found = rng.normal(size=(rows, SENSORS))
    found[1:] *= math.sqrt(1 - coefficient**2)
    for row in range(1, rows):
        found[row] += coefficient * found[row - 1]
    return found


def blocks(rng: np.random.Generator, rows: int) -> Labels:
    """`(rows,)` numbers of blocks of 200 to 2,000 rows."""
    shortest, longest = BLOCK_ROWS
    lengths = rng.integers(shortest, longest + 1, size=rows // shortest + 1)
    found: Labels = np.repeat(np.arange(len(lengths)), lengths)[:rows]
    return found


def flipped(
    rng: np.random.Generator, given: Labels, classes: int, rate: float, inside: NDArray[np.bool_]
) -> tuple[Labels, NDArray[np.bool_]]:
    """Labels of which some became another class, uniformly drawn, and which."""
    # The next class is a permutation; any other one with equal chance is no concept.
    shift = rng.integers(1, classes, size=len(given)) if rate < 1 else 1
    poisoned = inside & (rng.random(len(given)) < rate)
    return np.where(poisoned, (given + shift) % classes, given), poisoned


def family_stream(
    family: str, case: str, classes: int, seed: int, batch: int, rows: int | None = None
) -> Stream:
    """One of `FAMILIES`, ``stable`` or ``flip_<rate>``; ``batch`` rows a request."""
    if family == "old":
        return stream(case, classes, seed, rows)
    rng = np.random.default_rng([seed, classes, FAMILIES.index(family), 23])
    distance = rng.uniform(2.3, 3.1) if classes == 2 else rng.uniform(3.0, 3.8)
    onset = WARM_UP + 2_000 + int(rng.integers(1_000))
    if family == "lines":
        # A fifth of the rows are the bad line's.
        onset = WARM_UP + int(rng.integers(1_000))
    rows = onset + AFTER_ROWS if rows is None else rows
    centres = clusters(rng, classes, distance)
    position = np.arange(rows)
    lines = None
    if family == "blocks":
        block = blocks(rng, rows)
        steps = rng.integers(1, classes, size=block[-1] + 1)
        label_of = np.cumsum(steps) % classes
        which = (label_of * CLUSTERS + rng.integers(CLUSTERS, size=len(label_of)))[block]
        x = centres[which] + noise(rng, rows, BLOCK_AR)
    else:
        which = sticky(rng, rows, len(centres))
        x = centres[which] + noise(rng, rows)
    labels = which // CLUSTERS
    if family == "late_regimes":
        begins = 2_500 + int(rng.integers(1_000))
        late = (position >= begins) & (blocks(rng, rows) % 2 == 1)
        x = np.where(late[:, None], x - centres[which] + clusters(rng, classes, distance)[which], x)
        if classes > 2:
            # The last class is not seen before.
            early = (position < begins) & (labels == classes - 1)
            x = np.where(early[:, None], x - centres[which] + centres[which - CLUSTERS], x)
            labels = np.where(early, labels - 1, labels)
    inside = (position >= onset) & (position < onset + POISON_ROWS)
    if family == "lines":
        lines = position // batch % LINES
        inside = (position >= onset) & (lines == BAD_LINE)
    poisoned = np.zeros(rows, dtype=bool)
    kind, _, number = case.partition("_")
    if kind == "flip":
        labels, poisoned = flipped(rng, labels, classes, int(number) / 100, inside)
    return Stream(x, labels.astype(np.int64), poisoned, onset, lines)


def clusters(rng: np.random.Generator, classes: int, distance: float) -> Array:
    """`(classes * 2, 8)` centres at `distance` from the origin."""
    drawn = rng.normal(size=(classes * CLUSTERS, SENSORS))
    found: Array = drawn / np.linalg.norm(drawn, axis=1, keepdims=True) * distance
    return found


def stream(name: str, classes: int, seed: int, rows: int | None = None) -> Stream:
    """The stream of one round: ``stable``, a drift, or ``flip_<rate>``."""
    rng = np.random.default_rng([seed, classes, 17])
    distance = rng.uniform(2.3, 3.1) if classes == 2 else rng.uniform(3.0, 3.8)
    onset = WARM_UP + int(rng.integers(1_000))
    kind, _, number = name.partition("_")
    over = int(number) if kind == "gradual" and number else GRADUAL_ROWS
    rows = onset + max(AFTER_ROWS, 2 * over) if rows is None else rows
    centres = clusters(rng, classes, distance)
    which = sticky(rng, rows, len(centres))
    labels = which // CLUSTERS
    scatter = noise(rng, rows)
    position = np.arange(rows)
    poisoned = np.zeros(rows, dtype=bool)
    moved = centres[which]
    if kind == "flip":
        inside = (position >= onset) & (position < onset + POISON_ROWS)
        labels, poisoned = flipped(rng, labels, classes, int(number) / 100, inside)
    elif kind == "incremental":
        share = np.clip((position - onset) / over, 0, 1)[:, None]
        other = clusters(rng, classes, distance)
        moved = (1 - share) * centres[which] + share * other[which]
    elif kind != "stable":
        after = position - onset
        new = {
            "abrupt": after >= 0,
            "gradual": rng.random(rows) < after / over,
            "recurring": (after >= 0) & (after // TURN_ROWS % 2 == 0),
        }[kind]
        if seed % 2 == 0:
            moved = np.where(new[:, None], clusters(rng, classes, distance)[which], moved)
        else:
            # The first cluster of each class goes to the next class.
            changed = np.where(which % CLUSTERS == 0, (labels + 1) % classes, labels)
            labels = np.where(new, changed, labels)
    return Stream(moved + scatter, labels.astype(np.int64), poisoned, onset)
