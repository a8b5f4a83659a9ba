"""From a synapse's gradient to its update: SGD, or Adam (Kingma & Ba 2015), both pure.

Each synapse keeps its own moments, so both are as local as the rule that feeds them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-8


def sgd(gradient: Tensor, step_size: float) -> Tensor:
    """η·g."""
    return gradient * step_size


def adam(
    gradient: Tensor, first: Tensor, second: Tensor, step: int, step_size: float
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of Adam: (update, first moment, second moment), all of the gradient's shape.

    ``step`` counts from 1; the bias corrections are Kingma & Ba 2015, algorithm 1.
    """
    first = torch.lerp(first, gradient, 1 - BETA_1)
    second = second * BETA_2 + gradient * gradient * (1 - BETA_2)
    rate = step_size * math.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
    update = first * rate / (second.sqrt() + EPSILON * math.sqrt(1 - BETA_2**step))
    return update, first, second
