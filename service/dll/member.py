"""One step of one network: from its own activity and error to its next synapses."""

from __future__ import annotations

import torch
from torch import Tensor

from service.dll import optimiser
from service.dll.gain import gained, held
from service.dll.network import Activity, Member, Synapses, activate
from service.dll.rule import FEEDBACK, Gradient, LocalErrors, clamp, gradient, local_errors
from service.state import Network
from service.state.network import REHEARSED


def gradients(activity: Activity, errors: LocalErrors) -> list[Gradient]:
    """Each layer's own gradient estimate, l = 1..L, before step size, moments and clamp."""
    return [gradient(e, v) for e, v in zip(errors.errors, activity.inputs, strict=True)]


def stepped(
    network: Network,
    member: Member,
    factor: float,
    steps: int,
    activity: Activity,
    output: Tensor,
) -> Member:
    """A network after step number ``steps``.

    Parameters
    ----------
    factor
        On its own step size.
    activity
        That its synapses as they are left behind on the rows of the step, (B, …).
    output
        ξ_L of these rows, (B, n_L).
    """
    errors = local_errors(activity, member.synapses.feedback, output, network.activation)
    eta = factor * network.step_size
    if network.optimiser == "gain":
        found = [
            gained(blocks, v, network.gain_floor)
            for blocks, v in zip(member.gains, activity.inputs, strict=True)
        ]
        member = member._replace(gains=tuple(f.blocks for f in found))
        raw = [_by_gain(e, f.gain) for e, f in zip(errors.errors, found, strict=True)]
        keep = 1 - network.decay
    else:
        raw = gradients(activity, errors)
        keep = 1 - eta * network.decay
    if network.optimiser == "adam":
        member, updates = _by_adam(network, member, raw, steps, eta)
    else:
        updates = [_bounded(network, g, eta) for g in raw]
    if network.feedback_rule != "kolen_pollack":
        keep = 1.0
    return member._replace(synapses=_moved(network, member.synapses, eta, keep, errors, updates))


def rehearse(network: Network, member: Member, factor: float, x: Tensor, target: Tensor) -> Member:
    """A network after it learned inputs ``x`` (k, n_0) and targets (k, n_L) again, a small step
    for all; second moments and decay are left to new rows."""
    activity = activate(network, member.synapses, x)
    output = target - torch.softmax(activity.potentials[-1], dim=1)
    errors = local_errors(activity, member.synapses.feedback, output, network.activation)
    if network.optimiser == "gain":
        kept = zip(errors.errors, member.gains, activity.inputs, strict=True)
        raw = [_by_gain(e, held(blocks, v), x.shape[0]) for e, blocks, v in kept]
    else:
        raw = gradients(activity, errors)
    eta = factor * network.step_size * REHEARSED
    updates = [_bounded(network, g, eta) for g in raw]
    return member._replace(synapses=_moved(network, member.synapses, eta, 1.0, errors, updates))


def _by_gain(error: Tensor, gain: Tensor, shared: int = 1) -> Gradient:
    moved = error.t() @ gain
    if shared > 1:
        moved = moved / shared
    return Gradient(moved[:, :-1], moved[:, -1])


def _bounded(network: Network, g: Gradient, eta: float) -> Gradient:
    return Gradient(*(clamp(optimiser.sgd(part, eta), network.max_update) for part in g))


def _by_adam(
    network: Network, member: Member, raw: list[Gradient], steps: int, eta: float
) -> tuple[Member, list[Gradient]]:
    flat = [*(g.weight for g in raw), *(g.bias for g in raw)]
    moments = zip(flat, member.first, member.second, strict=True)
    found = [optimiser.adam(g, m, v, steps, eta) for g, m, v in moments]
    updates = [clamp(u, network.max_update) for u, _, _ in found]
    member = member._replace(
        first=tuple(m for _, m, _ in found), second=tuple(v for _, _, v in found)
    )
    half = len(raw)
    return member, [Gradient(w, b) for w, b in zip(updates[:half], updates[half:], strict=True)]


def _moved(
    network: Network,
    synapses: Synapses,
    eta: float,
    keep: float,
    errors: LocalErrors,
    updates: list[Gradient],
) -> Synapses:
    rule = FEEDBACK[network.feedback_rule]
    feedback = list(synapses.feedback)
    for position, theta in enumerate(feedback):
        upper = position + 1
        change = rule(
            eta * network.feedback_step,
            errors.errors[upper],
            errors.apical[position],
            updates[upper].weight[:, : theta.shape[1]],
        )
        if change is not None:
            feedback[position] = torch.add(_kept(theta, keep), clamp(change, network.max_update))
    pairs = zip(synapses.weights, synapses.biases, updates, strict=True)
    moved = [(torch.add(_kept(w, keep), u.weight), b + u.bias) for w, b, u in pairs]
    return Synapses(tuple(w for w, _ in moved), tuple(b for _, b in moved), tuple(feedback))


def _kept(weight: Tensor, keep: float) -> Tensor:
    return weight * keep if keep != 1.0 else weight
