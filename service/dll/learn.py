"""The learner as a pure function: predict, score-ready, then learn, in a single phase."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from service.dll import mixture, rehearsal
from service.dll.member import rehearse, stepped
from service.dll.network import Activity, Ensemble, activate, encode, read, torch_dtype
from service.dll.rule import local_errors
from service.dll.standardise import update
from service.rows import UNKNOWN
from service.state import Configuration, Diagnosis, Event, Labelled, Reply, State, ordered


@torch.inference_mode()
def forward(state: State, rows: NDArray[Any]) -> NDArray[Any]:
    """Class probabilities (B, n_L) of raw rows (B, n)."""
    return passed(state.configuration, Ensemble.of(state), torch.tensor(rows)).probabilities.numpy()


def nothing() -> None:
    """Gives way to nobody."""


def apply(
    state: State, event: Event, between: Callable[[], None] = nothing
) -> tuple[State, Reply | None]:
    """Take one event: (the next state, the reply to a labelled batch or None).

    ``between`` is called after each step but the last, so that a long event can give way to others.

    Pure and deterministic: bitwise the same for the same state and event, given the same torch
    build, kernels and thread count. The reply of a labelled batch is bitwise `forward` of its rows
    (criterion C3: a request of one step has one forward pass; more steps make one each, and the
    reply its own).

    Raises
    ------
    ValueError
        A step size that is not positive and finite.
    """
    if isinstance(event, Labelled):
        return _learn(state, event, between)
    return ordered(state, event), None


class Pass(NamedTuple):
    """What one forward pass over B rows leaves behind.

    ``activities`` and ``said`` (B, n_L) are each member's; ``evidence`` (M, B, n_L) is what the
    mixture reads, None where there is one network.
    """

    activities: tuple[Activity, ...]
    said: tuple[Tensor, ...]
    evidence: Tensor | None
    probabilities: Tensor

    def rows(self, index: Tensor) -> Pass:
        """Of some rows only; ``index`` is int64 of shape (b,)."""
        return Pass(
            tuple(activity.rows(index) for activity in self.activities),
            tuple(said.index_select(0, index) for said in self.said),
            None if self.evidence is None else self.evidence.index_select(1, index),
            self.probabilities.index_select(0, index),
        )


def passed(configuration: Configuration, ensemble: Ensemble, rows: Tensor) -> Pass:
    """One forward pass over raw rows (B, n): one matmul per layer of each member."""
    hot, z = read(configuration, rows, ensemble.moments)
    inputs: dict[bool, Tensor] = {}
    activities = []
    for network, member in zip(configuration.networks, ensemble.members, strict=True):
        if network.population_code not in inputs:
            inputs[network.population_code] = encode(network, hot, z)
        activities.append(activate(network, member.synapses, inputs[network.population_code]))
    said = tuple(torch.softmax(a.potentials[-1], dim=1) for a in activities)
    if len(said) == 1:
        return Pass(tuple(activities), said, None, said[0])
    evidence = mixture.evidence(said)
    return Pass(tuple(activities), said, evidence, mixture.mixed(ensemble.mixture, evidence))


@torch.inference_mode()
def _learn(state: State, event: Labelled, between: Callable[[], None]) -> tuple[State, Reply]:
    configuration, ensemble = state.configuration, Ensemble.of(state)
    # Copied into torch's own aligned memory, live and in replay alike: kernels may round
    # differently on other alignments.
    rows, labels = torch.tensor(event.rows), torch.tensor(event.labels)
    whole = passed(configuration, ensemble, rows)
    known = labels != UNKNOWN
    members = torch.stack(whole.said).numpy()
    seq = state.seq + 1
    if state.frozen or not bool(known.any()):
        nothing = torch.zeros_like(known).numpy()
        return state._replace(seq=seq), Reply(whole.probabilities.numpy(), nothing, members)
    index = known.nonzero().squeeze(1)
    per = configuration.rows_per_step
    steps = state.steps
    if per == 0 or len(known) == len(index) <= per:
        # One step, from the pass that has just been made.
        labelled = whole
        if len(index) < len(known):
            labelled = whole.rows(index)
            rows, labels = rows.index_select(0, index), labels.index_select(0, index)
        steps += 1
        learned = _stepped(configuration, ensemble, state.step_size, steps, labelled, rows, labels)
    else:
        # Float32 results depend on a batch's shape. So each step makes a pass of its own, and what
        # is learned does not depend on how the line packed its rows.
        learned = ensemble
        for first in range(0, len(index), per):
            if first:
                between()
            taken = index[first : first + per]
            some, said = rows.index_select(0, taken), labels.index_select(0, taken)
            steps += 1
            now = passed(configuration, learned, some)
            learned = _stepped(configuration, learned, state.step_size, steps, now, some, said)
    after = learned.into(state)._replace(seq=seq, steps=steps)
    return after, Reply(whole.probabilities.numpy(), known.numpy(), members)


def _stepped(
    configuration: Configuration,
    ensemble: Ensemble,
    factor: float,
    steps: int,
    seen: Pass,
    rows: Tensor,
    labels: Tensor,
) -> Ensemble:
    """The ensemble after one step on labelled rows, and its standardiser after them."""
    target = targets(configuration, labels)
    members = tuple(
        stepped(network, member, factor, steps, activity, _error(configuration, labels, target, y))
        for network, member, activity, y in zip(
            configuration.networks, ensemble.members, seen.activities, seen.said, strict=True
        )
    )
    learned = ensemble._replace(members=members)
    if seen.evidence is not None:
        error = target - seen.probabilities
        learned = learned._replace(mixture=mixture.learned(ensemble.mixture, seen.evidence, error))
    if configuration.rehearses:
        learned = _rehearsed(configuration, learned, factor, rows, labels)
    # The standardiser learns after the prediction, and from labelled rows only: a prediction must
    # not depend on whether its own row is labelled.
    return learned._replace(moments=update(ensemble.moments, rows))


def targets(configuration: Configuration, labels: Tensor) -> Tensor:
    """t (B, n_L): one-hot, smoothed as configured (Szegedy et al. 2016)."""
    target = one_hot(labels, configuration.classes).to(torch_dtype(configuration))
    smooth = configuration.label_smoothing
    return target * (1 - smooth) + smooth / configuration.classes if smooth else target


def _error(configuration: Configuration, labels: Tensor, target: Tensor, y: Tensor) -> Tensor:
    """ξ_L = t - y, of rare classes more where that is configured."""
    error = target - y
    if not configuration.class_weights:
        return error
    weights = torch.tensor(configuration.class_weights, dtype=error.dtype)
    return error * weights[labels].unsqueeze(1)


def _rehearsed(
    configuration: Configuration, ensemble: Ensemble, factor: float, rows: Tensor, labels: Tensor
) -> Ensemble:
    """The ensemble after it learned some of its reservoir again, and kept these rows in it."""
    reservoir, seed = ensemble.reservoir, configuration.seed
    members = []
    for network, member in zip(configuration.networks, ensemble.members, strict=True):
        places = rehearsal.rehearsed(reservoir, seed, network.rehearsed)
        if len(places):
            again = encode(network, *read(configuration, reservoir.rows[places], ensemble.moments))
            target = targets(configuration, reservoir.labels[places])
            member = rehearse(network, member, factor, again, target)
        members.append(member)
    return ensemble._replace(
        members=tuple(members), reservoir=rehearsal.kept(reservoir, seed, rows, labels)
    )


@torch.inference_mode()
def diagnose(state: State, event: Labelled) -> tuple[Diagnosis, ...]:
    """What learning ``event`` in one step does to each network of ``state``, layer by layer; for
    people, off the hot path."""
    configuration, ensemble = state.configuration, Ensemble.of(state)
    labels = torch.tensor(event.labels)
    known = labels != UNKNOWN
    labels = labels[known]
    seen = passed(configuration, ensemble, torch.tensor(event.rows)[known])
    found = []
    for network, member, activity, y in zip(
        configuration.networks, ensemble.members, seen.activities, seen.said, strict=True
    ):
        output = _error(configuration, labels, targets(configuration, labels), y)
        errors = local_errors(activity, member.synapses.feedback, output, network.activation)
        after = stepped(network, member, state.step_size, state.steps + 1, activity, output)
        found.append(
            Diagnosis(
                tuple(float(e.square().mean().sqrt()) for e in errors.errors),
                tuple(
                    float((now - before).norm() / before.norm().clamp(min=1e-12))
                    for now, before in zip(
                        after.synapses.weights, member.synapses.weights, strict=True
                    )
                ),
            )
        )
    return tuple(found)
