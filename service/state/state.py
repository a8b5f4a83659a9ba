"""The state of a learner: one immutable value that can be compared bitwise and saved."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.state.configuration import Configuration
from service.state.memory import aligned
from service.state.moments import Moments, unseen


class Synapses(NamedTuple):
    """All synapses of a network, in its precision; index l-1 holds layer l, l = 1..L.

    Parameters
    ----------
    weights
        W_l of shape (n_l, n_{l-1}).
    biases
        b_l of shape (n_l,).
    feedback
        Θ_l of shape (n_l, n_{l-1}), l = 2..L: what layer l sends back to layer l-1.
    """

    weights: tuple[NDArray[Any], ...]
    biases: tuple[NDArray[Any], ...]
    feedback: tuple[NDArray[Any], ...]


class State(NamedTuple):
    """Everything that learning needs. No array in it is ever written to after it was made.

    ``first`` and ``second`` are Adam's moments of all weights and biases, in the order W_1..W_L,
    b_1..b_L; they are empty under SGD. Θ has none: its own rules take plain steps. ``steps`` counts
    updates, ``seq`` events.
    """

    configuration: Configuration
    seq: int
    steps: int
    step_size: float
    frozen: bool
    synapses: Synapses
    moments: Moments
    first: tuple[NDArray[Any], ...]
    second: tuple[NDArray[Any], ...]


def newborn(configuration: Configuration, synapses: Synapses) -> State:
    """A learner at ``seq`` 0 with synapses that were just drawn."""
    learned = (*synapses.weights, *synapses.biases)
    adam = configuration.optimiser == "adam"
    return State(
        configuration=configuration,
        seq=0,
        steps=0,
        step_size=configuration.step_size,
        frozen=False,
        synapses=synapses,
        moments=unseen(len(configuration.ranges)),
        first=tuple(aligned(np.zeros_like(p)) for p in learned) if adam else (),
        second=tuple(aligned(np.zeros_like(p)) for p in learned) if adam else (),
    )


def arrays(state: State) -> dict[str, NDArray[Any]]:
    """Every array of the state under its name in the file."""
    named: dict[str, NDArray[Any]] = {}
    for kind, group in (
        ("weight", state.synapses.weights),
        ("bias", state.synapses.biases),
        ("feedback", state.synapses.feedback),
        ("adam.first", state.first),
        ("adam.second", state.second),
    ):
        # Θ_1 does not exist, so feedback is numbered from layer 2.
        start = 2 if kind == "feedback" else 1
        named |= {f"{kind}.{index}": array for index, array in enumerate(group, start)}
    named |= {f"standardise.{name}": a for name, a in state.moments._asdict().items()}
    return named


def finite(state: State) -> bool:
    """Whether every number of it is."""
    synapses = state.synapses
    groups = (*synapses, state.moments, state.first, state.second)
    return all(np.isfinite(array).all() for group in groups for array in group)


def same(a: State, b: State) -> bool:
    """Bitwise equality, NaN payloads and signed zeros included."""
    if a[:5] != b[:5]:
        return False
    mine, theirs = arrays(a), arrays(b)
    return mine.keys() == theirs.keys() and all(
        array.shape == theirs[name].shape
        and array.dtype == theirs[name].dtype
        and array.tobytes() == theirs[name].tobytes()
        for name, array in mine.items()
    )
