"""The learner as a pure function: predict, score-ready, then learn, in a single phase."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from service.dll import optimiser
from service.dll.events import UNKNOWN, Event, Freeze, Labelled, Noted, Replace, StepSize, Thaw
from service.dll.network import Activity, Synapses, activate
from service.dll.rule import FEEDBACK, Gradient, LocalErrors, clamp, gradient, local_errors
from service.dll.standardise import scale, standardise, update
from service.dll.state import State


class Reply(NamedTuple):
    """What the network says of a batch: ``probabilities`` (B, n_L), before it learned from it.

    ``learned`` (B,) bool marks the rows that took part in the step that followed.
    """

    probabilities: Tensor
    learned: Tensor


def forward(state: State, rows: Tensor) -> Tensor:
    """Class probabilities (B, n_L) of raw rows (B, n_0)."""
    return torch.softmax(_activity(state, rows).potentials[-1], dim=1)


def apply(state: State, event: Event) -> tuple[State, Reply | None]:
    """Take one event: (the next state, the reply to a labelled batch or None).

    Pure and deterministic: bitwise the same for the same state and event, given the same torch
    build, kernels and thread count. The reply of a labelled batch is bitwise `forward` of its rows
    (criterion C3: there is no second forward pass).
    """
    seq = state.seq + 1
    match event:
        case Labelled():
            return _learn(state, event)
        case Replace(state=other):
            return other._replace(seq=seq, frozen=state.frozen), None
        case Freeze():
            return state._replace(seq=seq, frozen=True), None
        case Thaw():
            return state._replace(seq=seq, frozen=False), None
        case Noted():
            return state._replace(seq=seq), None
        case StepSize(value=value):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"step size: expected a positive finite number, found {value}")
            return state._replace(seq=seq, step_size=value), None


def _activity(state: State, rows: Tensor) -> Activity:
    configuration = state.configuration
    in_force = scale(state.moments, configuration.ranges, configuration.torch_dtype)
    return activate(state.synapses, standardise(rows, in_force))


def _learn(state: State, event: Labelled) -> tuple[State, Reply]:
    activity = _activity(state, event.rows)
    probabilities = torch.softmax(activity.potentials[-1], dim=1)
    known = event.labels != UNKNOWN
    seq = state.seq + 1
    if state.frozen:
        return state._replace(seq=seq), Reply(probabilities, torch.zeros_like(known))
    index = known.nonzero().squeeze(1)
    labelled, outputs, rows, labels = activity, probabilities, event.rows, event.labels
    if len(index) < len(known):
        labelled, outputs = activity.rows(index), probabilities.index_select(0, index)
        rows, labels = rows.index_select(0, index), labels.index_select(0, index)
    target = one_hot(labels, state.configuration.classes).to(outputs.dtype)
    errors = local_errors(labelled, state.synapses.feedback, target - outputs)
    learned = _step(state, labelled, errors)
    return (
        # The standardiser learns after the prediction, and from labelled rows only: a prediction
        # must not depend on whether its own row is labelled.
        learned._replace(seq=seq, moments=update(state.moments, rows)),
        Reply(probabilities, known),
    )


def gradients(activity: Activity, errors: LocalErrors) -> list[Gradient]:
    """Each layer's own gradient estimate, l = 1..L, before step size, moments and clamp."""
    return [gradient(e, x) for e, x in zip(errors.errors, activity.inputs, strict=True)]


def _step(state: State, activity: Activity, errors: LocalErrors) -> State:
    configuration, synapses = state.configuration, state.synapses
    eta = state.step_size
    steps = state.steps + 1
    raw = gradients(activity, errors)
    flat = [*(g.weight for g in raw), *(g.bias for g in raw)]
    first, second = state.first, state.second
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
    return state._replace(
        steps=steps,
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


class Diagnosis(NamedTuple):
    """A network from inside, at one labelled batch; index l-1 holds layer l.

    ``error`` is the root mean square of ξ_l; ``update`` is ‖ΔW_l‖ / ‖W_l‖.
    """

    error: tuple[float, ...]
    update: tuple[float, ...]


def diagnose(state: State, event: Labelled) -> Diagnosis:
    """What learning ``event`` does to ``state``, layer by layer; for people, off the hot path."""
    known = event.labels != UNKNOWN
    activity = _activity(state, event.rows[known])
    target = one_hot(event.labels[known], state.configuration.classes)
    output = target.to(activity.potentials[-1].dtype) - torch.softmax(activity.potentials[-1], 1)
    errors = local_errors(activity, state.synapses.feedback, output)
    after = _step(state, activity, errors).synapses.weights
    return Diagnosis(
        tuple(float(e.square().mean().sqrt()) for e in errors.errors),
        tuple(
            float((now - before).norm() / before.norm().clamp(min=1e-12))
            for now, before in zip(after, state.synapses.weights, strict=True)
        ),
    )
