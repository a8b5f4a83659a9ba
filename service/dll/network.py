"""The perceptron: its configuration, its synapses and the forward pass.

Notation, batch first. For layers l = 1..L of widths n_0 (sensors) .. n_L (classes):

    W_l (n_l, n_{l-1}), b_l (n_l,)    basal synapses, forward
    Θ_l (n_l, n_{l-1}), l = 2..L      apical synapses: what layer l sends back to layer l-1
    a_l = x_{l-1} W_lᵀ + b_l          (B, n_l) somatic potential
    x_l = tanh(a_l), l < L            (B, n_l) activity; the last layer is linear
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from service import state as values
from service.dll.standardise import Moments
from service.state import Configuration, State, newborn


class Synapses(NamedTuple):
    """All synapses of a network; index l-1 holds layer l, and ``feedback[l-2]`` is Θ_l."""

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    feedback: tuple[Tensor, ...]


class Network(NamedTuple):
    """What a step reads and makes anew: the tensors of a state, in the memory of its arrays."""

    synapses: Synapses
    moments: Moments
    first: tuple[Tensor, ...]
    second: tuple[Tensor, ...]

    @classmethod
    def of(cls, state: State) -> Network:
        """The tensors of a state, without a copy."""
        return cls(
            Synapses(*(_tensors(group) for group in state.synapses)),
            Moments(*_tensors(state.moments)),
            _tensors(state.first),
            _tensors(state.second),
        )

    def into(self, state: State) -> State:
        """The state with these tensors for its arrays, without a copy."""
        return state._replace(
            synapses=values.Synapses(*(_arrays(group) for group in self.synapses)),
            moments=values.Moments(*_arrays(self.moments)),
            first=_arrays(self.first),
            second=_arrays(self.second),
        )


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


def torch_dtype(configuration: Configuration) -> torch.dtype:
    """The network's precision."""
    return torch.float64 if configuration.dtype == "float64" else torch.float32


def initial(configuration: Configuration) -> State:
    """A newborn learner at ``seq`` 0."""
    drawn = draw(configuration)
    return newborn(configuration, values.Synapses(*(_arrays(group) for group in drawn)))


def draw(configuration: Configuration) -> Synapses:
    """Newborn synapses: W and Θ from independent draws, biases zero."""
    widths = configuration.widths
    dtype = torch_dtype(configuration)
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


def _tensors(arrays: Iterable[NDArray[Any]]) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(array) for array in arrays)


def _arrays(tensors: Iterable[Tensor]) -> tuple[NDArray[Any], ...]:
    return tuple(tensor.numpy() for tensor in tensors)
