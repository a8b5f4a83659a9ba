"""A uniform sample of all labelled rows (Vitter 1985, algorithm R), drawn from by a stated hash.

No library's generator has a part in it: whoever replays a log, in whatever language, draws alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

from service.dll.network import Reservoir

PRIME = 2**31 - 1
FACTOR = 48271
SHIFT = 1013904223


def drawn(seed: int, step: int, k: int) -> int:
    """A number in [0, 2^31 - 1) that looks random: mix(mix(mix(seed) + step) + k) modulo 2^31 - 1,
    where mix(x) = (48271 x + 1013904223)^5. Every product fits 64 bits."""
    value = 0
    for part in (seed, step, k):
        x = ((value + part % PRIME) % PRIME * FACTOR + SHIFT) % PRIME
        square = x * x % PRIME
        value = square * square % PRIME * x % PRIME
    return value


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
