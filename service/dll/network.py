"""The perceptron: its configuration, its synapses and the forward pass.

Notation, batch first. For layers l = 1..L of widths n_0 (sensors) .. n_L (classes):

    W_l (n_l, n_{l-1}), b_l (n_l,)    basal synapses, forward
    Θ_l (n_l, n_{l-1}), l = 2..L      apical synapses: what layer l sends back to layer l-1
    a_l = x_{l-1} W_lᵀ + b_l          (B, n_l) somatic potential
    x_l = tanh(a_l), l < L            (B, n_l) activity; the last layer is linear
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

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
    def torch_dtype(self) -> torch.dtype:
        return torch.float64 if self.dtype == "float64" else torch.float32


class Synapses(NamedTuple):
    """All synapses of a network; index l-1 holds layer l, and ``feedback[l-2]`` is Θ_l."""

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    feedback: tuple[Tensor, ...]


class Activity(NamedTuple):
    """What a forward pass leaves behind at each neuron.

    ``inputs[l-1]`` is x_{l-1} of shape (B, n_{l-1}), the presynaptic activity of layer l;
    ``potentials[l-1]`` is a_l of shape (B, n_l).
    """

    inputs: tuple[Tensor, ...]
    potentials: tuple[Tensor, ...]

    def rows(self, index: Tensor) -> Activity:
        """The activity of some rows only; ``index`` is int64 of shape (b,)."""
        return Activity(
            tuple(x.index_select(0, index) for x in self.inputs),
            tuple(a.index_select(0, index) for a in self.potentials),
        )


def draw(configuration: Configuration) -> Synapses:
    """Newborn synapses: W and Θ from independent draws, biases zero."""
    widths = configuration.widths
    dtype = configuration.torch_dtype
    forward = torch.Generator().manual_seed(configuration.seed)
    backward = torch.Generator().manual_seed(configuration.seed ^ 0x5DEECE66D)

    def normal(generator: torch.Generator, layer: int, scale: float) -> Tensor:
        shape = (widths[layer], widths[layer - 1])
        deviation = scale / math.sqrt(widths[layer - 1])
        # Drawn in double precision so that float32 and float64 networks start alike.
        return (torch.randn(shape, generator=generator, dtype=torch.float64) * deviation).to(dtype)

    layers = range(1, len(widths))
    return Synapses(
        weights=tuple(normal(forward, l, 1.0) for l in layers),
        biases=tuple(torch.zeros(widths[l], dtype=dtype) for l in layers),
        feedback=tuple(normal(backward, l, configuration.feedback_scale) for l in layers[1:]),
    )


def activate(synapses: Synapses, x: Tensor) -> Activity:
    """One forward pass over standardised rows ``x`` (B, n_0): one matmul per layer."""
    inputs, potentials = [x], []
    last = len(synapses.weights) - 1
    for layer, (weight, bias) in enumerate(zip(synapses.weights, synapses.biases, strict=True)):
        potential = torch.addmm(bias, inputs[-1], weight.t())
        potentials.append(potential)
        if layer < last:
            inputs.append(torch.tanh(potential))
    return Activity(tuple(inputs), tuple(potentials))
