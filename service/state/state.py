"""The state of a learner: one immutable value that can be compared bitwise and saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.state.configuration import Configuration
from service.state.memory import aligned
from service.state.moments import Moments, unseen
from service.state.network import Network

BIRTH_GAIN = 0.1
"""P of a newborn network is this times the identity, and its mean diagonal never exceeds it."""


class Synapses(NamedTuple):
    """All synapses of a network, in its precision; index l-1 holds layer l, l = 1..L.

    Parameters
    ----------
    weights
        W_l of shape (n_l, m_l), m_l the presynaptic neurons of the layer: n_{l-1}, and in the last
        layer n_0 more where there are skip connections.
    biases
        b_l of shape (n_l,).
    feedback
        Θ_l of shape (n_l, n_{l-1}), l = 2..L: what layer l sends back to layer l-1.
    """

    weights: tuple[NDArray[Any], ...]
    biases: tuple[NDArray[Any], ...]
    feedback: tuple[NDArray[Any], ...]


class Member(NamedTuple):
    """What one network has learned.

    ``first`` and ``second`` are Adam's moments of all weights and biases, in the order W_1..W_L,
    b_1..b_L; empty without Adam. Θ has none: its own rules take plain steps. ``gains`` are the
    blocks of each layer's P (`Network.gain_shapes`); empty without it.
    """

    synapses: Synapses
    first: tuple[NDArray[Any], ...] = ()
    second: tuple[NDArray[Any], ...] = ()
    gains: tuple[tuple[NDArray[Any], ...], ...] = ()


class Reservoir(NamedTuple):
    """Labelled rows that are kept for rehearsal, a uniform sample of all that were learned.

    Parameters
    ----------
    rows
        (R, n) raw sensor units, NaN where missing.
    labels
        (R,) int64 class indices.
    seen
        (1,) int64: labelled rows learned so far, the first R of which fill it.
    """

    rows: NDArray[Any]
    labels: NDArray[np.int64]
    seen: NDArray[np.int64]


class State(NamedTuple):
    """Everything that learning needs. No array in it is ever written to after it was made.

    ``kernel`` names who runs it (`service.kernels`), which decides its last bits. ``mixture`` (M,)
    is how much each member counts; empty where there is one. ``quarantined`` are the lines whose
    labels do not teach, in order; "" is that of rows which name none. ``steps`` counts updates,
    ``seq`` events.
    """

    configuration: Configuration
    seq: int
    steps: int
    step_size: float
    frozen: bool
    kernel: str
    quarantined: tuple[str, ...]
    members: tuple[Member, ...]
    moments: Moments
    mixture: NDArray[Any]
    reservoir: Reservoir

    @property
    def synapses(self) -> Synapses:
        """Of the first network."""
        return self.members[0].synapses


def newborn(configuration: Configuration, drawn: tuple[Synapses, ...]) -> State:
    """A learner at ``seq`` 0 with synapses that were just drawn, network by network."""
    sensors, precision = len(configuration.ranges), configuration.precision
    kept = configuration.reservoir if configuration.rehearses else 0
    mixed = len(drawn) if len(drawn) > 1 else 0
    return State(
        configuration=configuration,
        seq=0,
        steps=0,
        step_size=configuration.step_size,
        frozen=False,
        kernel="torch",
        quarantined=(),
        members=tuple(
            _newborn(configuration, network, synapses)
            for network, synapses in zip(configuration.networks, drawn, strict=True)
        ),
        moments=unseen(sensors),
        mixture=aligned(np.full(mixed, 1 / max(mixed, 1), precision)),
        reservoir=Reservoir(
            aligned(np.zeros((kept, sensors), precision)),
            aligned(np.zeros(kept, np.int64)),
            aligned(np.zeros(1, np.int64)),
        ),
    )


def _newborn(configuration: Configuration, network: Network, synapses: Synapses) -> Member:
    learned = (*synapses.weights, *synapses.biases)
    adam = network.optimiser == "adam"
    sensors, hot = len(configuration.measured), len(configuration.hot)
    return Member(
        synapses,
        first=tuple(aligned(np.zeros_like(p)) for p in learned) if adam else (),
        second=tuple(aligned(np.zeros_like(p)) for p in learned) if adam else (),
        gains=tuple(
            tuple(_identity(shape, configuration.precision) for shape in blocks)
            for blocks in network.gain_shapes(sensors, configuration.classes, hot)
        ),
    )


def _identity(shape: tuple[int, ...], precision: np.dtype[Any]) -> NDArray[Any]:
    one = np.eye(shape[-1], dtype=precision) * precision.type(BIRTH_GAIN)
    return aligned(np.broadcast_to(one, shape))


Replaced = Callable[[str, NDArray[Any]], NDArray[Any]]


def mapped(state: State, replaced: Replaced) -> State:
    """The state with ``replaced(name, array)`` for every array of it."""
    alone = len(state.members) == 1

    def group(prefix: str, values: NamedTuple) -> list[NDArray[Any]]:
        return [replaced(f"{prefix}.{name}", array) for name, array in values._asdict().items()]

    return state._replace(
        members=tuple(
            _mapped(member, "" if alone else f"{network.name}.", replaced)
            for network, member in zip(state.configuration.networks, state.members, strict=True)
        ),
        moments=Moments(*group("standardise", state.moments)),
        mixture=state.mixture if alone else replaced("mixture", state.mixture),
        reservoir=Reservoir(*group("reservoir", state.reservoir))
        if state.configuration.rehearses
        else state.reservoir,
    )


def _mapped(member: Member, prefix: str, replaced: Replaced) -> Member:
    Arrays = tuple[NDArray[Any], ...]

    def group(kind: str, arrays: Arrays, start: int = 1) -> Arrays:
        numbered = enumerate(arrays, start)
        return tuple(replaced(f"{prefix}{kind}.{index}", array) for index, array in numbered)

    synapses = member.synapses
    return Member(
        Synapses(
            group("weight", synapses.weights),
            group("bias", synapses.biases),
            # Θ_1 does not exist, so feedback is numbered from layer 2.
            group("feedback", synapses.feedback, 2),
        ),
        group("adam.first", member.first),
        group("adam.second", member.second),
        tuple(group(f"gain.{layer}", blocks) for layer, blocks in enumerate(member.gains, 1)),
    )


def arrays(state: State) -> dict[str, NDArray[Any]]:
    """Every array of the state under its name in the file."""
    named: dict[str, NDArray[Any]] = {}

    def noted(name: str, array: NDArray[Any]) -> NDArray[Any]:
        named[name] = array
        return array

    mapped(state, noted)
    return named


def leaves(state: State) -> list[NDArray[Any]]:
    """The arrays of `arrays`, in its order, without their names."""
    found: list[NDArray[Any]] = []
    for member in state.members:
        for group in (*member.synapses, member.first, member.second, *member.gains):
            found += group
    found += state.moments
    if len(state.members) > 1:
        found.append(state.mixture)
    if state.configuration.rehearses:
        found += state.reservoir
    return found


def with_leaves(state: State, given: Sequence[NDArray[Any]], seq: int, steps: int) -> State:
    """The state with other arrays, in the order of `leaves`, another ``seq`` and ``steps``."""
    # Slices of one tuple, in straight lines: this is done for every event that is learned.
    given, at, members = tuple(given), 0, []
    for (weights, biases, feedback), first, second, gains in state.members:
        below, above = at + len(weights), at + len(weights) + len(biases)
        end = above + len(feedback)
        synapses = Synapses(given[at:below], given[below:above], given[above:end])
        at = end
        if first:
            middle, at = at + len(first), at + len(first) + len(second)
            first, second = given[end:middle], given[middle:at]
        layers = []
        for blocks in gains:
            layers.append(given[at : at + len(blocks)])
            at += len(blocks)
        members.append(Member(synapses, first, second, tuple(layers)))
    moments, at = Moments(*given[at : at + 3]), at + 3
    mixture, reservoir = state.mixture, state.reservoir
    if len(members) > 1:
        mixture, at = given[at], at + 1
    if state.configuration.rehearses:
        reservoir = Reservoir(*given[at:])
    return state._replace(
        members=tuple(members),
        moments=moments,
        mixture=mixture,
        reservoir=reservoir,
        seq=seq,
        steps=steps,
    )


def finite(state: State) -> bool:
    """Whether every number of it is, but for readings that were missing in rehearsed rows."""
    kept = state.reservoir.rows
    with np.errstate(over="ignore", invalid="ignore"):
        return all(_finite(array) for array in leaves(state) if array is not kept)


def _finite(array: NDArray[Any]) -> bool:
    # One number that is not finite leaves a sum of squares that is not; where one of finite ones
    # overflows, they are looked at one by one.
    return bool(math.isfinite(np.vdot(array, array)) or np.isfinite(array).all())


def same(a: State, b: State) -> bool:
    """Bitwise equality, NaN payloads and signed zeros included."""
    if a[:7] != b[:7]:
        return False
    mine, theirs = arrays(a), arrays(b)
    return mine.keys() == theirs.keys() and all(
        array.shape == theirs[name].shape
        and array.dtype == theirs[name].dtype
        and array.tobytes() == theirs[name].tobytes()
        for name, array in mine.items()
    )
