"""A gain on a layer's own presynaptic activity: recursive least squares' gain, a local error.

    k = P v,  s = vᵀk,  G = k / (λ + s)          P (m, m): inverse second moment of v, forgetting
    ΔW = η ξ Gᵀ
    r = k / √(λ + s),  P ← f · ((P - r rᵀ) / λ + ε I),  f = min(1, P_0 m / tr P)

v is the layer's presynaptic activity and the constant 1 of its bias. P is shared by the neurons of
a layer, so the rule is local to the layer, no longer to the synapse. It is recursive least squares'
gain (Haykin, Adaptive Filter Theory, chapter 10); several rows at once are its block form.

Written with r rᵀ, P stays exactly symmetric in rounding. Written as P - k (Pv)ᵀ it does not: its
antisymmetric part grows as λ^-t, and learning falls to chance after some ten thousand rows. Without
ε, constant and duplicated sensors drive vᵀPv below 0. The trace is summed anew in each step.
ε = 1e-7 held over a million rows in float32; of 1e-8 two equal sensors made a negative direction.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from service.state.network import FORGETTING
from service.state.state import BIRTH_GAIN


class Gained(NamedTuple):
    """``gain`` G (B, m + 1), the bias' last, and P's blocks after these rows."""

    gain: Tensor
    blocks: tuple[Tensor, ...]


def gained(blocks: tuple[Tensor, ...], v: Tensor, floor: float) -> Gained:
    """The gain of presynaptic rows ``v`` (B, m) of one layer, and its P after them; ``floor`` is ε.

    ``blocks`` is one P for all; or those of the sensors, (n, g, g), which come last in v, and one
    for what comes before them and the constant.
    """
    parts = _parts(blocks, v)
    ks = [_through(p, part) for p, part in zip(blocks, parts, strict=True)]
    s = _norms(parts, ks)
    if bool((s < 0).any()):
        # Rounding, where inputs depend on each other, can leave P with a negative direction, which
        # then grows. Seen at once, for vᵀPv is negative: anew.
        blocks = tuple(torch.zeros_like(p) for p in blocks)
        for p in blocks:
            p.diagonal(dim1=-2, dim2=-1).fill_(BIRTH_GAIN)
        ks = [_through(p, part) for p, part in zip(blocks, parts, strict=True)]
        s = _norms(parts, ks)
    if v.shape[0] == 1:
        norm = FORGETTING + float(s)
        gains = [k / norm for k in ks]
        roots = [k / math.sqrt(norm) for k in ks]
    else:
        flat = torch.cat([k.flatten(1) for k in ks], 1)
        both = torch.cat([p.flatten(1) for p in parts], 1) @ flat.t()
        eye = torch.eye(len(both), dtype=both.dtype)
        lower = torch.linalg.cholesky((both + both.t()) / 2 + FORGETTING * eye)
        root = torch.linalg.solve_triangular(lower, flat, upper=False)
        gain = torch.linalg.solve_triangular(lower.t(), root, upper=True)
        widths = [k[0].numel() for k in ks]
        shapes = [k.shape for k in ks]
        gains = [g.reshape(h) for g, h in zip(gain.split(widths, 1), shapes, strict=True)]
        roots = [r.reshape(h) for r, h in zip(root.split(widths, 1), shapes, strict=True)]
    return Gained(_joined(gains), _learned(blocks, roots, floor))


def _norms(parts: list[Tensor], ks: list[Tensor]) -> Tensor:
    """vᵀPv of each row, (B,)."""
    return torch.stack([(p * k).flatten(1).sum(1) for p, k in zip(parts, ks, strict=True)]).sum(0)


def held(blocks: tuple[Tensor, ...], v: Tensor) -> Tensor:
    """The gain of each of the rows ``v`` by itself, with P as it is: for rows that are rehearsed,
    on which P must not move."""
    parts = _parts(blocks, v)
    ks = [_through(p, part) for p, part in zip(blocks, parts, strict=True)]
    s = torch.clamp(_norms(parts, ks), min=0)
    return _joined(ks) / (FORGETTING + s).unsqueeze(1)


def _parts(blocks: tuple[Tensor, ...], v: Tensor) -> list[Tensor]:
    """What each block reads of v and the constant."""
    one = torch.ones(v.shape[0], 1, dtype=v.dtype)
    if len(blocks) == 1:
        return [torch.cat([v, one], 1)]
    sensors, each, _ = blocks[0].shape
    below = v.shape[1] - sensors * each
    return [v[:, below:].reshape(-1, sensors, each), torch.cat([v[:, :below], one], 1)]


def _through(block: Tensor, part: Tensor) -> Tensor:
    if block.dim() == 2:
        return part @ block
    return torch.einsum("bni,nij->bnj", part, block)


def _joined(parts: list[Tensor]) -> Tensor:
    """In the order of v, the constant's last."""
    if len(parts) == 1:
        return parts[0]
    sensors, rest = parts
    return torch.cat([rest[:, :-1], sensors.flatten(1), rest[:, -1:]], 1)


def _learned(blocks: tuple[Tensor, ...], roots: list[Tensor], floor: float) -> tuple[Tensor, ...]:
    diagonals = [
        (p.diagonal(dim1=-2, dim2=-1) - (r * r).sum(0)) / FORGETTING + floor
        for p, r in zip(blocks, roots, strict=True)
    ]
    trace = sum(float(d.sum()) for d in diagonals)
    inputs = sum(d.numel() for d in diagonals)
    bound = BIRTH_GAIN * inputs
    f = bound / trace if trace > bound else 1.0
    grow = f / FORGETTING
    after = []
    for block, root in zip(blocks, roots, strict=True):
        # Scaled before, and in operations of their own: a fused one may round an element and its
        # mirror image apart.
        scaled = root * math.sqrt(grow)
        moved = block * grow
        for index, row in enumerate(scaled):
            outer = row.unsqueeze(-1) * row.unsqueeze(-2)
            if index == 0:
                # Before it is taken off, as the step graph does it, which so goes over P once less.
                outer.diagonal(dim1=-2, dim2=-1).sub_(f * floor)
            moved.sub_(outer)
        after.append(moved)
    return tuple(after)
