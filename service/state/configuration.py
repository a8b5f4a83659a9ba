"""What a network is and how it learns: constant over the life of a state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

FEEDBACK_RULES = ("fixed", "hebbian", "energy", "kolen_pollack")
OPTIMISERS = ("sgd", "adam")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a network is and how it learns; constant over the life of a state.

    Parameters
    ----------
    ranges
        Per sensor the declared (low, high), in the sensor's own unit.
    classes
        Number of classes, at least two.
    hidden
        Widths of the hidden layers, first to last; may be empty.
    feedback_rule
        One of `FEEDBACK_RULES`: how Θ learns.
    optimiser
        One of `OPTIMISERS`.
    step_size
        η of a new state; a `StepSize` event changes it later.
    feedback_step
        η_Θ of the rules ``hebbian`` and ``energy``, as a fraction of η.
    feedback_scale
        Standard deviation of Θ at birth, in units of ``1/sqrt(fan_in)``.
    decay
        Rate of the decay that ``kolen_pollack`` puts on W and Θ alike: a step multiplies both
        by ``1 - η·decay``.
    max_update
        Bound on the absolute value of each element of a layer's own update, in one step.
    rows_per_step
        Labelled rows of a request that one step takes, in their order; 0 takes all of them at once,
        as versions before this key did.
    seed
        Seed of W; Θ comes from a stream of its own.
    dtype
        ``float32``, or ``float64`` for proofs.
    """

    ranges: tuple[tuple[float, float], ...]
    classes: int
    hidden: tuple[int, ...] = (64,)
    feedback_rule: str = "fixed"
    optimiser: str = "sgd"
    step_size: float = 0.05
    feedback_step: float = 0.1
    feedback_scale: float = 2.0
    decay: float = 0.01
    max_update: float = 1.0
    seed: int = 0
    rows_per_step: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if not self.ranges:
            raise ValueError("a network needs at least one sensor")
        for index, (low, high) in enumerate(self.ranges):
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(
                    f"sensor {index}: range must be finite, low < high: [{low}, {high}]"
                )
        if self.classes < 2:
            raise ValueError(f"a classifier needs at least two classes, found {self.classes}")
        if self.rows_per_step < 0:
            raise ValueError(f"rows_per_step: expected 0 or more, found {self.rows_per_step}")
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden widths must be positive, found {self.hidden}")
        if self.feedback_rule not in FEEDBACK_RULES:
            raise ValueError(
                f"feedback rule: expected one of {FEEDBACK_RULES}, found {self.feedback_rule!r}"
            )
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser: expected one of {OPTIMISERS}, found {self.optimiser!r}")

    @property
    def widths(self) -> tuple[int, ...]:
        """n_0 .. n_L."""
        return (len(self.ranges), *self.hidden, self.classes)

    @property
    def precision(self) -> np.dtype[Any]:
        """Of synapses, activities and probabilities."""
        return np.dtype(self.dtype)
