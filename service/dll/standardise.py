"""Online standardisation: running mean and deviation per sensor, missing readings kept out.

The moments are Welford's, merged by batch (Chan, Golub & LeVeque 1983), in double precision. Until
a sensor has been seen its mean and deviation are those of a uniform draw from its declared range.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from service.state.moments import CLIP, FADE, FLOOR


class Moments(NamedTuple):
    """Per sensor, float64 of shape (n_0,): readings seen, their mean, sum of squared deviations."""

    readings: Tensor
    mean: Tensor
    squares: Tensor


class Scale(NamedTuple):
    """What the forward pass subtracts and divides by; shape (n_0,), in the network's dtype."""

    mean: Tensor
    deviation: Tensor


def scale(moments: Moments, ranges: tuple[tuple[float, float], ...], dtype: torch.dtype) -> Scale:
    """Mean and deviation in force; `service.state.scale` says why they are what they are."""
    low, high, declared = _declared(ranges)
    prior = torch.exp(-moments.readings / FADE)
    mean = prior * (low + high) / 2 + (1 - prior) * moments.mean
    running = (moments.squares / moments.readings.clamp(min=1)).sqrt()
    running = torch.maximum(running, declared * FLOOR)
    deviation = declared**prior * running ** (1 - prior)
    return Scale(mean.to(dtype), deviation.to(dtype))


@functools.lru_cache(maxsize=1024)
def _declared(ranges: tuple[tuple[float, float], ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Low, high and deviation of the declared ranges: the same at every step of a network."""
    low, high = torch.tensor(ranges, dtype=torch.float64).unbind(1)
    return low, high, (high - low) / math.sqrt(12)


def standardise(rows: Tensor, scale: Scale) -> Tensor:
    """Raw readings (B, n_0), NaN where missing → standardised, clipped, the mean where missing."""
    z = torch.clamp((rows - scale.mean) / scale.deviation, -CLIP, CLIP)
    return torch.where(torch.isnan(rows), 0.0, z)


def update(moments: Moments, rows: Tensor) -> Moments:
    """The moments after raw readings ``rows`` (B, n_0); NaN does not count."""
    x = rows.to(torch.float64)
    present = ~torch.isnan(x)
    count = present.sum(0).to(torch.float64)
    some = count.clamp(min=1)
    mean = torch.where(present, x, 0.0).sum(0) / some
    spread = torch.where(present, x - mean, 0.0)
    total = moments.readings + count
    safe = total.clamp(min=1)
    shift = mean - moments.mean
    return Moments(
        total,
        moments.mean + torch.where(count > 0, shift * count / safe, 0.0),
        moments.squares
        + torch.where(
            count > 0, (spread * spread).sum(0) + shift**2 * moments.readings * count / safe, 0.0
        ),
    )
