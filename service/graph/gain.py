"""A gain on presynaptic activity as nodes: `service.dll.gain` in a graph, for one new row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from service.graph.nodes import Typed
from service.state.network import FORGETTING
from service.state.state import BIRTH_GAIN


class Block(NamedTuple):
    """A P, or those of several sensors: what it is called, and its shape (m, m) or (n, g, g)."""

    name: str
    shape: tuple[int, ...]


def gained(n: Typed, blocks: Sequence[Block], v: str, floor: float) -> tuple[str, dict[str, str]]:
    """The gain (1, m + 1) of one row ``v`` (1, m), the bias' last, and each P after it."""
    parts = _parts(n, blocks, v, rows=1)
    ks = [n.op("MatMul", part, block.name) for part, block in zip(parts, blocks, strict=True)]
    s = _norm(n, blocks, parts, ks)
    turned = n.op("Less", s, n.c(0.0))  # its positivity, to rounding: it begins anew
    for at, part in enumerate(parts):
        ks[at] = n.op("Where", turned, n.op("Mul", part, n.c(BIRTH_GAIN)), ks[at])
    norm = n.op("Add", _norm(n, blocks, parts, ks), n.c(FORGETTING))
    # Diagonals, and their trace anew. P is gone over as seldom as can be: it is most of the state.
    begun = n.op("Where", turned, n.c(BIRTH_GAIN), n.c(0.0))
    roots, sums = [], []
    for block, k in zip(blocks, ks, strict=True):
        roots.append(n.op("Div", k, n.op("Sqrt", norm)))
        squared = n.flat(n.op("Mul", roots[-1], roots[-1]))
        before = n.op("Gather", n.flat(block.name), n.i(_diagonal(block.shape)))
        before = n.op("Where", turned, begun, before)
        sums.append(n.total(n.op("Sub", before, squared), [0]))
    inputs = sum(math.prod(block.shape[:-1]) for block in blocks)
    # The trace, times the forgetting.
    trace = n.op("Add", _summed(n, sums), n.c(floor * inputs * FORGETTING))
    f = n.op("Min", n.c(1.0), n.op("Div", n.c(BIRTH_GAIN * inputs * FORGETTING), trace))
    grow = n.op("Div", f, n.c(FORGETTING))
    # What a P keeps of itself, and what is added to its diagonal alone.
    keeps = n.op("Where", turned, n.c(0.0), grow)
    added = n.op("Add", n.op("Mul", f, n.c(floor)), n.op("Mul", begun, grow))
    after: dict[str, str] = {}
    for block, root in zip(blocks, roots, strict=True):
        scaled = n.op("Mul", root, n.op("Sqrt", grow))
        places = n.i(np.stack(np.unravel_index(_diagonal(block.shape), block.shape), 1))
        lifted = n.op("Mul", added, n.c(np.ones(math.prod(block.shape[:-1]))))
        kept = n.op("Mul", block.name, keeps)
        kept = n.op("ScatterND", kept, places, lifted, reduction="add")
        if len(block.shape) == 2:
            moved = n.op("Gemm", scaled, scaled, kept, transA=1, alpha=-1.0)
        else:
            upright = n.op("Transpose", scaled, perm=[0, 2, 1])
            moved = n.op("Sub", kept, n.op("Mul", upright, scaled))
        after[block.name] = moved
    return _joined(n, blocks, [n.op("Div", k, norm) for k in ks], rows=1), after


def held(n: Typed, blocks: Sequence[Block], v: str, rows: int) -> str:
    """The gain (B, m + 1) of each of ``rows`` rows ``v`` by itself, with each P as it is."""
    parts = _parts(n, blocks, v, rows)
    ks = [n.op("MatMul", part, block.name) for part, block in zip(parts, blocks, strict=True)]
    norms = []
    for block, part, k in zip(blocks, parts, ks, strict=True):
        axes = [1] if len(block.shape) == 2 else [0, 2]
        norms.append(n.total(n.op("Mul", part, k), axes))
    s = n.op("Max", _summed(n, norms), n.c(0.0))
    norm = n.unsqueezed(n.op("Add", s, n.c(FORGETTING)), 1)
    return n.op("Div", _joined(n, blocks, ks, rows), norm)


def _parts(n: Typed, blocks: Sequence[Block], v: str, rows: int) -> list[str]:
    """What each block reads of v and the constant: (B, m), and (n, B, g) of several sensors."""
    one = n.c(np.ones((rows, 1)))
    if len(blocks) == 1:
        return [n.op("Concat", v, one, axis=1)]
    (sensors, each, _), (rest, _) = blocks[0].shape, blocks[1].shape
    below, whole = rest - 1, rest - 1 + sensors * each
    coded = n.op("Reshape", n.columns(v, below, whole), n.i([rows, sensors, each]))
    before = n.op("Concat", n.columns(v, 0, below), one, axis=1)
    return [n.op("Transpose", coded, perm=[1, 0, 2]), before]


def _joined(n: Typed, blocks: Sequence[Block], parts: list[str], rows: int) -> str:
    """In the order of v, the constant's last."""
    if len(parts) == 1:
        return parts[0]
    (sensors, each, _), (rest, _) = blocks[0].shape, blocks[1].shape
    turned = n.op("Transpose", parts[0], perm=[1, 0, 2])
    coded = n.op("Reshape", turned, n.i([rows, sensors * each]))
    before, last = n.columns(parts[1], 0, rest - 1), n.columns(parts[1], rest - 1, rest)
    return n.op("Concat", before, coded, last, axis=1)


def _diagonal(shape: tuple[int, ...]) -> np.ndarray:
    """Where the diagonals lie in what is flat."""
    size = shape[-1]
    first = np.arange(math.prod(shape[:-2])) * size * size
    return (first[:, None] + np.arange(size) * (size + 1)).ravel()


def _norm(n: Typed, blocks: Sequence[Block], parts: list[str], ks: list[str]) -> str:
    """vᵀPv of one row."""
    found = []
    for block, part, k in zip(blocks, parts, ks, strict=True):
        found.append(n.total(n.op("Mul", part, k), range(len(block.shape))))
    return _summed(n, found)


def _summed(n: Typed, values: list[str]) -> str:
    total, *others = values
    for other in others:
        total = n.op("Add", total, other)
    return total
