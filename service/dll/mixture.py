"""One gated neuron that mixes what the members say.

    y = softmax(Σ_k v_k log max(p_k, 1e-4))
    v_k ← max(0, v_k + 0.02 Σ_c (t_c - y_c) log max(p_k,c, 1e-4))

After Veness et al., Gated Linear Networks (AAAI 2021): a geometric mixture whose weights learn from
its own error alone. It is the off switch of whatever does not help on this line.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from service.state.network import LEAST, RATE


def evidence(probabilities: Sequence[Tensor]) -> Tensor:
    """log p of each member, (M, B, K), bounded below."""
    return torch.log(torch.clamp(torch.stack(list(probabilities)), min=LEAST))


def mixed(weights: Tensor, evidence: Tensor) -> Tensor:
    """The mixture's probabilities (B, K); ``weights`` are v (M,)."""
    return torch.softmax((weights[:, None, None] * evidence).sum(0), dim=1)


def learned(weights: Tensor, evidence: Tensor, error: Tensor) -> Tensor:
    """v after rows on which the mixture's own error was t - y, (B, K)."""
    change = (evidence * error).sum(2).mean(1)
    return torch.clamp(weights + change * RATE, min=0)
