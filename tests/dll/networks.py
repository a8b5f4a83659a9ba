"""Random networks and batches for the proofs: depths 1 to 5, batches 1 to 64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from service.dll import initial
from service.dll.learn import passed
from service.dll.network import Activity, Ensemble, Member, torch_dtype
from service.state import Configuration, Labelled, State, plain
from service.state.network import MEMBERS, members


@st.composite
def configurations(draw: st.DrawFn, **fixed: object) -> Configuration:
    depth = draw(st.integers(1, 5))
    sensors = draw(st.integers(1, 7))
    values: dict[str, object] = {
        "ranges": tuple((-1.0, 1.0 + index) for index in range(sensors)),
        "classes": draw(st.integers(2, 5)),
        "hidden": tuple(draw(st.lists(st.integers(1, 9), min_size=depth - 1, max_size=depth - 1))),
        "seed": draw(st.integers(0, 2**20)),
        "feedback_rule": draw(st.sampled_from(["fixed", "hebbian", "energy", "kolen_pollack"])),
        "optimiser": draw(st.sampled_from(["sgd", "adam", "gain"])),
        "activation": draw(st.sampled_from(["tanh", "relu", "leaky_relu"])),
        "population_code": draw(st.booleans()),
        "skip": draw(st.booleans()),
        # So small that some P are one block and some are many.
        "dense_inputs": draw(st.sampled_from([4, 448])),
    }
    return plain(**{**values, **fixed})  # type: ignore[arg-type]


@st.composite
def ensembles(draw: st.DrawFn, **fixed: object) -> Configuration:
    """Some of the members that a learner can be made of, in any order; some sensors have values."""
    sensors = draw(st.integers(1, 5))
    counts = st.sampled_from([0, 0, 2, 4])
    values = tuple(draw(st.lists(counts, min_size=sensors, max_size=sensors)))
    names = draw(st.lists(st.sampled_from(sorted(MEMBERS)), min_size=1, unique=True))
    hidden = tuple(draw(st.lists(st.integers(1, 6), max_size=2)))
    return Configuration(
        tuple((0.0, v - 1.0) if v else (-1.0, 1.0 + index) for index, v in enumerate(values)),
        draw(st.integers(2, 4)),
        members(tuple(names), hidden, draw(st.integers(0, 2**20))),
        reservoir=draw(st.sampled_from([3, 512])),
        label_smoothing=draw(st.sampled_from([0.0, 0.1])),
        values=values if any(values) else (),
        **fixed,  # type: ignore[arg-type]
    )


@st.composite
def lessons(draw: st.DrawFn, configuration: Configuration) -> Labelled:
    """A batch of 1 to 64 rows with missing readings, at least one row of which is labelled."""
    rows = draw(st.integers(1, 64))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    return batch(configuration, rows, generator)


def batch(configuration: Configuration, rows: int, generator: torch.Generator) -> Labelled:
    """``rows`` random rows, a tenth of the readings missing, half of the labels known."""
    x = torch.randn(
        rows, len(configuration.ranges), generator=generator, dtype=torch_dtype(configuration)
    )
    for column, count in enumerate(configuration.values):
        if count:
            x[:, column] = torch.randint(count, (rows,), generator=generator).to(x.dtype)
    x[torch.rand(x.shape, generator=generator) < 0.1] = torch.nan
    labels = torch.randint(configuration.classes, (rows,), generator=generator)
    unknown = torch.rand(rows, generator=generator) < 0.5
    unknown[0] = False
    labels[unknown] = -1
    return Labelled(x.numpy(), labels.numpy())


def active(state: State, rows: NDArray[Any]) -> tuple[Member, Activity]:
    """The tensors of a state's only network and what a forward pass over rows leaves in them."""
    ensemble = Ensemble.of(state)
    (activity,) = passed(state.configuration, ensemble, torch.tensor(rows)).activities
    return ensemble.members[0], activity


def with_synapses(state: State, **changed: tuple[NDArray[Any], ...]) -> State:
    """The state with other synapses in its first network."""
    first, *rest = state.members
    synapses = first.synapses._replace(**changed)
    return state._replace(members=(first._replace(synapses=synapses), *rest))


def bits(array: Tensor | NDArray[Any]) -> bytes:
    return np.asarray(array).tobytes()


def taught(configuration: Configuration, steps: int = 3) -> State:
    """A state that has seen a few batches, so that nothing in it is still at its birth value."""
    from service.dll import apply

    generator = torch.Generator().manual_seed(1)
    state = initial(configuration)
    for _ in range(steps):
        state, _ = apply(state, batch(configuration, 5, generator))
    return state
