"""A uniform sample of all labelled rows (Vitter 1985, algorithm R), drawn from by a stated hash."""

from __future__ import annotations

import torch
from torch import Tensor

from service.dll.network import Reservoir
from service.state.draws import drawn


def rehearsed(reservoir: Reservoir, seed: int, count: int) -> Tensor:
    """Places (count,) of the reservoir, drawn with replacement; (0,) where it is empty."""
    seen = int(reservoir.seen)
    held = min(seen, len(reservoir.labels))
    places = [drawn(seed, seen, k) % held for k in range(1, count + 1)] if held else []
    return torch.tensor(places, dtype=torch.int64)


def kept(reservoir: Reservoir, seed: int, rows: Tensor, labels: Tensor) -> Reservoir:
    """The reservoir after labelled rows (B, n), in their order."""
    seen, size = int(reservoir.seen), len(reservoir.labels)
    held, said = reservoir.rows.clone(), reservoir.labels.clone()
    for row, label in zip(rows, labels, strict=True):
        place = seen if seen < size else drawn(seed, seen, 0) % (seen + 1)
        if place < size:
            held[place], said[place] = row, label
        seen += 1
    return Reservoir(held, said, torch.tensor([seen], dtype=torch.int64))
