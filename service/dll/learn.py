"""The learner as a pure function: predict, score-ready, then learn, in a single phase."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from service.dll import optimiser
from service.dll.network import Activity, Network, Synapses, activate, torch_dtype
from service.dll.rule import FEEDBACK, Gradient, LocalErrors, clamp, gradient, local_errors
from service.dll.standardise import scale, standardise, update
from service.rows import UNKNOWN
from service.state import Configuration, Diagnosis, Event, Labelled, Reply, State, ordered


@torch.inference_mode()
def forward(state: State, rows: NDArray[Any]) -> NDArray[Any]:
    """Class probabilities (B, n_L) of raw rows (B, n_0)."""
    activity = _activity(state.configuration, Network.of(state), torch.tensor(rows))
    return torch.softmax(activity.potentials[-1], dim=1).numpy()


def apply(state: State, event: Event) -> tuple[State, Reply | None]:
    """Take one event: (the next state, the reply to a labelled batch or None).

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
        return _learn(state, event)
    return ordered(state, event), None


def _activity(configuration: Configuration, network: Network, rows: Tensor) -> Activity:
    in_force = scale(network.moments, configuration.ranges, torch_dtype(configuration))
    return activate(network.synapses, standardise(rows, in_force))


@torch.inference_mode()
def _learn(state: State, event: Labelled) -> tuple[State, Reply]:
    configuration, network = state.configuration, Network.of(state)
    # Copied into torch's own aligned memory, live and in replay alike: kernels may round
    # differently on other alignments.
    rows, labels = torch.tensor(event.rows), torch.tensor(event.labels)
    activity = _activity(configuration, network, rows)
    probabilities = torch.softmax(activity.potentials[-1], dim=1)
    known = labels != UNKNOWN
    seq = state.seq + 1
    if state.frozen:
        nothing = torch.zeros_like(known).numpy()
        return state._replace(seq=seq), Reply(probabilities.numpy(), nothing)
    index = known.nonzero().squeeze(1)
    per = configuration.rows_per_step
    steps = state.steps
    if per == 0 or len(known) == len(index) <= per:
        # One step, from the pass that has just been made.
        labelled = activity
        if len(index) < len(known):
            labelled = activity.rows(index)
            rows, labels = rows.index_select(0, index), labels.index_select(0, index)
        steps += 1
        learned = _stepped(configuration, network, state.step_size, steps, labelled, rows, labels)
    else:
        # Float32 results depend on a batch's shape. So each step makes a pass of its own, and what
        # is learned does not depend on how the line packed its rows.
        learned = network
        for first in range(0, len(index), per):
            taken = index[first : first + per]
            some, said = rows.index_select(0, taken), labels.index_select(0, taken)
            steps += 1
            now = _activity(configuration, learned, some)
            learned = _stepped(configuration, learned, state.step_size, steps, now, some, said)
    after = learned.into(state)._replace(seq=seq, steps=steps)
    return after, Reply(probabilities.numpy(), known.numpy())


def _stepped(
    configuration: Configuration,
    network: Network,
    eta: float,
    steps: int,
    activity: Activity,
    rows: Tensor,
    labels: Tensor,
) -> Network:
    """The network after one step on labelled rows, and its standardiser after them."""
    outputs = torch.softmax(activity.potentials[-1], dim=1)
    target = one_hot(labels, configuration.classes).to(outputs.dtype)
    errors = local_errors(activity, network.synapses.feedback, target - outputs)
    learned = _step(configuration, network, eta, steps, activity, errors)
    # The standardiser learns after the prediction, and from labelled rows only: a prediction must
    # not depend on whether its own row is labelled.
    return learned._replace(moments=update(network.moments, rows))


def gradients(activity: Activity, errors: LocalErrors) -> list[Gradient]:
    """Each layer's own gradient estimate, l = 1..L, before step size, moments and clamp."""
    return [gradient(e, x) for e, x in zip(errors.errors, activity.inputs, strict=True)]


def _step(
    configuration: Configuration,
    network: Network,
    eta: float,
    steps: int,
    activity: Activity,
    errors: LocalErrors,
) -> Network:
    """The network after step number ``steps`` of size ``eta``; its moments stay as they are."""
    synapses = network.synapses
    raw = gradients(activity, errors)
    flat = [*(g.weight for g in raw), *(g.bias for g in raw)]
    first, second = network.first, network.second
    if configuration.optimiser == "adam":
        stepped = [
            optimiser.adam(g, m, v, steps, eta) for g, m, v in zip(flat, first, second, strict=True)
        ]
        updates = [clamp(u, configuration.max_update) for u, _, _ in stepped]
        first = tuple(m for _, m, _ in stepped)
        second = tuple(v for _, _, v in stepped)
    else:
        updates = [clamp(optimiser.sgd(g, eta), configuration.max_update) for g in flat]
    layers = len(synapses.weights)
    weight_updates, bias_updates = updates[:layers], updates[layers:]

    rule = FEEDBACK[configuration.feedback_rule]
    keep = 1 - eta * configuration.decay if configuration.feedback_rule == "kolen_pollack" else 1.0
    feedback = list(synapses.feedback)
    for position, theta in enumerate(feedback):
        upper = position + 1
        change = rule(
            eta * configuration.feedback_step,
            errors.errors[upper],
            errors.apical[position],
            weight_updates[upper],
        )
        if change is not None:
            feedback[position] = torch.add(
                theta * keep if keep != 1.0 else theta, clamp(change, configuration.max_update)
            )
    return network._replace(
        synapses=Synapses(
            weights=tuple(
                torch.add(w * keep if keep != 1.0 else w, u)
                for w, u in zip(synapses.weights, weight_updates, strict=True)
            ),
            biases=tuple(b + u for b, u in zip(synapses.biases, bias_updates, strict=True)),
            feedback=tuple(feedback),
        ),
        first=first,
        second=second,
    )


def diagnose(state: State, event: Labelled) -> Diagnosis:
    """What learning ``event`` does to ``state``, layer by layer; for people, off the hot path."""
    configuration, network = state.configuration, Network.of(state)
    labels = torch.tensor(event.labels)
    known = labels != UNKNOWN
    activity = _activity(configuration, network, torch.tensor(event.rows)[known])
    target = one_hot(labels[known], configuration.classes)
    output = target.to(activity.potentials[-1].dtype) - torch.softmax(activity.potentials[-1], 1)
    errors = local_errors(activity, network.synapses.feedback, output)
    stepped = _step(configuration, network, state.step_size, state.steps + 1, activity, errors)
    return Diagnosis(
        tuple(float(e.square().mean().sqrt()) for e in errors.errors),
        tuple(
            float((now - before).norm() / before.norm().clamp(min=1e-12))
            for now, before in zip(stepped.synapses.weights, network.synapses.weights, strict=True)
        ),
    )
