"""Running moments of each sensor, and the mean and deviation that they put in force."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.state.memory import aligned

CLIP = 10.0
"""Standardised readings are clipped here: sensors have heavy tails."""

FADE = 4.0
"""Readings in which the weight of the declared range falls by a factor of e."""

FLOOR = 1e-4
"""Least deviation, in units of the declared range's: a sensor that stands still must not turn its
first flicker into an outlier."""


class Moments(NamedTuple):
    """Per sensor, float64 of shape (n_0,): readings seen, their mean, sum of squared deviations."""

    readings: NDArray[np.float64]
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]


class Scale(NamedTuple):
    """What the forward pass subtracts and divides by; shape (n_0,), in the network's precision."""

    mean: NDArray[Any]
    deviation: NDArray[Any]


def unseen(sensors: int) -> Moments:
    """The moments of sensors that never sent a reading."""
    return Moments(*(aligned(np.zeros(sensors)) for _ in range(3)))


def scale(
    moments: Moments, ranges: tuple[tuple[float, float], ...], precision: np.dtype[Any]
) -> Scale:
    """Mean and deviation in force.

    They glide from the declared range's to the running ones, the deviation in its logarithm: the
    first reading alone must not become the centre of the world. The range fades exponentially, for
    one declared a thousand times too wide must be gone in a hundred readings. `service.dll` says
    the same in torch, within rounding; a test holds the two together.
    """
    low, high = np.array(ranges, np.float64).T
    declared = (high - low) / math.sqrt(12)
    prior = np.exp(-moments.readings / FADE)
    mean = prior * (low + high) / 2 + (1 - prior) * moments.mean
    running = np.sqrt(moments.squares / np.maximum(moments.readings, 1))
    running = np.maximum(running, declared * FLOOR)
    deviation = declared**prior * running ** (1 - prior)
    return Scale(mean.astype(precision), deviation.astype(precision))
