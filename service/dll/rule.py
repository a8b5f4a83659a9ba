"""The learning rule: local errors, and what each synapse changes because of them.

    ξ_L = t - y                         the teaching signal meets the output
    u_l = ξ_{l+1} Θ_{l+1}               apical potential: what layer l hears from above
    ξ_l = u_l ⊙ φ'(a_l)                 local error
    g_l = mean_B(ξ_lᵀ v_l)              the synapse's own gradient estimate

Lv et al. 2025 (arXiv 2501.09976). The forward weights are not among the arguments, so the feedback
path cannot read them (criterion C1); `gradient` takes one layer's own activities and nothing else
(criterion C2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from service.dll.network import SLOPES, Activity


class LocalErrors(NamedTuple):
    """``errors[l-1]`` is ξ_l (B, n_l), l = 1..L; ``apical[l-1]`` is u_l (B, n_l), l < L."""

    errors: tuple[Tensor, ...]
    apical: tuple[Tensor, ...]


class Gradient(NamedTuple):
    """One layer's own direction of change: ``weight`` (n_l, n_{l-1}) and ``bias`` (n_l,)."""

    weight: Tensor
    bias: Tensor


def local_errors(
    activity: Activity, feedback: tuple[Tensor, ...], output: Tensor, activation: str = "tanh"
) -> LocalErrors:
    """Send the output's error down the apical synapses, layer by layer, in one phase.

    Parameters
    ----------
    activity
        Of the labelled rows; only hidden activities are read.
    feedback
        Θ_2 .. Θ_L.
    output
        ξ_L = t - y of shape (B, n_L).
    activation
        φ, by name.
    """
    slope = SLOPES[activation]
    errors, apical = [output], []
    for layer in range(len(feedback), 0, -1):
        heard = errors[-1] @ feedback[layer - 1]
        errors.append(heard * slope(activity.hidden[layer - 1]))
        apical.append(heard)
    return LocalErrors(tuple(reversed(errors)), tuple(reversed(apical)))


def gradient(error: Tensor, presynaptic: Tensor) -> Gradient:
    """mean_B(ξ_lᵀ v_l) and mean_B(ξ_l) of one layer.

    The mean, not the sum: the step does not grow with the rows that a line happens to send.
    """
    rows = error.shape[0]
    return Gradient(error.t() @ presynaptic / rows, error.sum(0) / rows)


def _correlation(upper_error: Tensor, lower_apical: Tensor) -> Tensor:
    return upper_error.t() @ lower_apical / upper_error.shape[0]


def _fixed(step: float, upper_error: Tensor, lower_apical: Tensor, update: Tensor) -> None:
    """Θ never moves: feedback alignment (Lillicrap et al. 2016)."""


def _hebbian(step: float, upper_error: Tensor, lower_apical: Tensor, update: Tensor) -> Tensor:
    """Reinforces the present feedback: the reference code's convolutional sign."""
    return _correlation(upper_error, lower_apical) * step


def _energy(step: float, upper_error: Tensor, lower_apical: Tensor, update: Tensor) -> Tensor:
    """Descends on the local error energy ½‖u‖²: the reference code's recurrent sign."""
    return _correlation(upper_error, lower_apical) * -step


def _kolen_pollack(
    step: float, upper_error: Tensor, lower_apical: Tensor, update: Tensor
) -> Tensor:
    """The forward synapse's own update; with the same decay on both, Θ → W without copying it
    (Kolen & Pollack 1994; Akrout et al. 2019)."""
    return update


FeedbackRule = Callable[[float, Tensor, Tensor, Tensor], Tensor | None]

FEEDBACK: dict[str, FeedbackRule] = {
    "fixed": _fixed,
    "hebbian": _hebbian,
    "energy": _energy,
    "kolen_pollack": _kolen_pollack,
}
"""ΔΘ_l by name: ``(η_Θ, ξ_l, u_{l-1}, ΔW_l) -> ΔΘ_l`` or None; all of it local to layer l."""


def clamp(update: Tensor, bound: float) -> Tensor:
    """Bound each element of one layer's own update to ±``bound``."""
    return torch.clamp(update, -bound, bound)
