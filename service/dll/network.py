"""Perceptrons: their synapses and the forward pass.

Notation, batch first. For layers l = 1..L of widths n_1 .. n_L (classes):

    x_0                               (B, n_0) values one-hot, and behind them standardised
                                      sensors, or their population code
    v_l = x_{l-1}                     (B, m_l) presynaptic activity; v_L = [x_{L-1}, x_0] with skips
    W_l (n_l, m_l), b_l (n_l,)        basal synapses, forward
    Θ_l (n_l, n_{l-1}), l = 2..L      apical synapses: what layer l sends back to layer l-1
    a_l = v_l W_lᵀ + b_l              (B, n_l) somatic potential
    x_l = φ(a_l), l < L               (B, n_l) activity; the last layer is linear
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from service import state as values
from service.dll.standardise import Moments, scale, standardise
from service.state import Configuration, Network, State, newborn
from service.state.network import CENTRES, LEAK, WIDTH


class Synapses(NamedTuple):
    """All synapses of a network; index l-1 holds layer l, and ``feedback[l-2]`` is Θ_l."""

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    feedback: tuple[Tensor, ...]


class Member(NamedTuple):
    """What a step of one network reads and makes anew: the tensors of `service.state.Member`."""

    synapses: Synapses
    first: tuple[Tensor, ...] = ()
    second: tuple[Tensor, ...] = ()
    gains: tuple[tuple[Tensor, ...], ...] = ()


class Reservoir(NamedTuple):
    """The tensors of `service.state.Reservoir`."""

    rows: Tensor
    labels: Tensor
    seen: Tensor


class Ensemble(NamedTuple):
    """What a step reads and makes anew: the tensors of a state, in the memory of its arrays."""

    members: tuple[Member, ...]
    moments: Moments
    mixture: Tensor
    reservoir: Reservoir

    @classmethod
    def of(cls, state: State) -> Ensemble:
        """The tensors of a state, without a copy."""
        return cls(
            tuple(
                Member(
                    Synapses(*(_tensors(group) for group in member.synapses)),
                    _tensors(member.first),
                    _tensors(member.second),
                    tuple(_tensors(blocks) for blocks in member.gains),
                )
                for member in state.members
            ),
            Moments(*_tensors(state.moments)),
            torch.from_numpy(state.mixture),
            Reservoir(*_tensors(state.reservoir)),
        )

    def into(self, state: State) -> State:
        """The state with these tensors for its arrays, without a copy."""
        return state._replace(
            members=tuple(
                values.Member(
                    values.Synapses(*(_arrays(group) for group in member.synapses)),
                    _arrays(member.first),
                    _arrays(member.second),
                    tuple(_arrays(blocks) for blocks in member.gains),
                )
                for member in self.members
            ),
            moments=values.Moments(*_arrays(self.moments)),
            mixture=self.mixture.numpy(),
            reservoir=values.Reservoir(*_arrays(self.reservoir)),
        )


class Activity(NamedTuple):
    """What a forward pass leaves behind at each neuron.

    ``inputs[l-1]`` is v_l of shape (B, m_l), the presynaptic activity of layer l;
    ``potentials[l-1]`` is a_l and ``hidden[l-1]`` x_l, l < L, of shape (B, n_l).
    """

    inputs: tuple[Tensor, ...]
    potentials: tuple[Tensor, ...]
    hidden: tuple[Tensor, ...]

    def rows(self, index: Tensor) -> Activity:
        """The activity of some rows only; ``index`` is int64 of shape (b,)."""
        return Activity(*(tuple(x.index_select(0, index) for x in group) for group in self))


def torch_dtype(configuration: Configuration) -> torch.dtype:
    """The network's precision."""
    return torch.float64 if configuration.dtype == "float64" else torch.float32


def initial(configuration: Configuration) -> State:
    """A newborn learner at ``seq`` 0."""
    drawn = (draw(configuration, network) for network in configuration.networks)
    return newborn(
        configuration,
        tuple(values.Synapses(*(_arrays(group) for group in synapses)) for synapses in drawn),
    )


def draw(configuration: Configuration, network: Network) -> Synapses:
    """Newborn synapses: W and Θ from independent draws; biases and skip connections zero."""
    sensors, hot = len(configuration.measured), len(configuration.hot)
    classes = configuration.classes
    widths = (network.inputs(sensors, hot), *network.hidden, classes)
    dtype = torch_dtype(configuration)
    forward = torch.Generator().manual_seed(network.seed)
    backward = torch.Generator().manual_seed(network.seed ^ 0x5DEECE66D)

    def normal(generator: torch.Generator, layer: int, scale: float) -> Tensor:
        shape = (widths[layer], widths[layer - 1])
        deviation = scale / math.sqrt(widths[layer - 1])
        # Drawn in double precision so that float32 and float64 networks start alike.
        return (torch.randn(shape, generator=generator, dtype=torch.float64) * deviation).to(dtype)

    layers = range(1, len(widths))
    weights = [normal(forward, l, 1.0) for l in layers]
    if network.skip and network.hidden:
        weights[-1] = torch.cat([weights[-1], torch.zeros(classes, widths[0], dtype=dtype)], 1)
    return Synapses(
        weights=tuple(weights),
        biases=tuple(torch.zeros(widths[l], dtype=dtype) for l in layers),
        feedback=tuple(normal(backward, l, network.feedback_scale) for l in layers[1:]),
    )


def read(configuration: Configuration, rows: Tensor, moments: Moments) -> tuple[Tensor, Tensor]:
    """Raw rows (B, n) as the networks read them: values one-hot (B, h), none where missing, and
    sensors that measure, standardised."""
    z = standardise(rows, scale(moments, configuration.ranges, torch_dtype(configuration)))
    if not configuration.values:
        return rows[:, :0], z
    columns, indices, measured = _places(configuration)
    return (rows[:, columns] == indices).to(rows.dtype), z[:, measured]


@functools.lru_cache(maxsize=1024)
def _places(configuration: Configuration) -> tuple[Tensor, Tensor, Tensor]:
    """Columns and indices of the values, and columns of what measures: the same at every step."""
    columns, indices = torch.tensor(configuration.hot).unbind(1)
    measured = torch.tensor(configuration.measured, dtype=torch.int64)
    return columns, indices.to(torch_dtype(configuration)), measured


def encode(network: Network, hot: Tensor, z: Tensor) -> Tensor:
    """x_0 of what `read` gives: values, and behind them each sensor as it is and, in a population
    code, as exp(-(z - c)² / 2σ²) behind that, sensor by sensor."""
    coded = z if not network.population_code else _coded(z)
    return torch.cat([hot, coded], 1) if hot.shape[1] else coded


def _coded(z: Tensor) -> Tensor:
    each = z.unsqueeze(2)
    off = each - torch.tensor(CENTRES, dtype=z.dtype)
    return torch.cat([each, torch.exp(off * off * (-0.5 / WIDTH**2))], 2).flatten(1)


def activate(network: Network, synapses: Synapses, x: Tensor) -> Activity:
    """One forward pass over inputs ``x`` (B, n_0): one matmul per layer."""
    inputs, potentials, hidden = [x], [], []
    phi = ACTIVATIONS[network.activation]
    last = len(synapses.weights) - 1
    for layer, (weight, bias) in enumerate(zip(synapses.weights, synapses.biases, strict=True)):
        potential = torch.addmm(bias, inputs[-1], weight.t())
        potentials.append(potential)
        if layer < last:
            active = phi(potential)
            hidden.append(active)
            skips = network.skip and layer == last - 1
            inputs.append(torch.cat([active, x], 1) if skips else active)
    return Activity(tuple(inputs), tuple(potentials), tuple(hidden))


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": lambda a: torch.where(a > 0, a, a * LEAK),
}

SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": lambda x: 1 - x * x,
    "relu": lambda x: (x > 0).to(x.dtype),
    "leaky_relu": lambda x: torch.where(x > 0, torch.ones_like(x), torch.full_like(x, LEAK)),
}
"""φ'(a) as a function of x = φ(a): the neuron's own activity is all it needs."""


def _tensors(arrays: Iterable[NDArray[Any]]) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(array) for array in arrays)


def _arrays(tensors: Iterable[Tensor]) -> tuple[NDArray[Any], ...]:
    return tuple(tensor.numpy() for tensor in tensors)
