"""A gain on presynaptic activity as nodes: `service.dll.gain` in a graph, for one new row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from service.graph.nodes import Typed
from service.state.network import FORGETTING
from service.state.state import BIRTH_GAIN

MANY = 100
"""Places from which on onnxruntime's ScatterElements is faster than its ScatterND, which takes
longer for each and less for all."""


class Block(NamedTuple):
    """A P, or those of several sensors: what it is called, and its shape (m, m) or (n, g, g)."""

    name: str
    shape: tuple[int, ...]


def gained(n: Typed, blocks: Sequence[Block], v: str, floor: float) -> tuple[str, dict[str, str]]:
    """The gain (1, m + 1) of one row ``v`` (1, m), the bias' last, and each P after it."""
    parts = _parts(n, blocks, v, rows=1)
    ks = [n.op("MatMul", part, block.name) for part, block in zip(parts, blocks, strict=True)]
    # Its positivity, to rounding: where that is gone it begins anew.
    turned = n.op("Less", _dots(n, parts, ks), n.c(0.0))
    for at, part in enumerate(parts):
        ks[at] = n.op("Where", turned, n.op("Mul", part, n.c(BIRTH_GAIN)), ks[at])
    norm = _dots(n, parts, ks, FORGETTING)
    roots = [n.op("Div", k, n.op("Sqrt", norm)) for k in ks]
    # The trace anew. P is gone over as seldom as can be: it is most of the state.
    inputs = sum(math.prod(block.shape[:-1]) for block in blocks)
    diagonals = []
    for block in blocks:
        diagonal = n.op("Gather", n.flat(block.name), n.i(_diagonal(block.shape)))
        diagonals.append(n.total(diagonal, [0]))
    before = n.op("Where", turned, n.c(BIRTH_GAIN * inputs), _summed(n, diagonals))
    lift = floor * FORGETTING
    trace = n.op("Sub", before, _dots(n, roots, roots, -lift * inputs))
    # f / λ: what P keeps of itself, and what is added to its diagonal alone.
    grow = n.op("Min", n.c(1 / FORGETTING), n.op("Div", n.c(BIRTH_GAIN * inputs), trace))
    keeps = n.op("Where", turned, n.c(0.0), grow)
    added = n.op("Mul", n.op("Where", turned, n.c(BIRTH_GAIN + lift), n.c(lift)), grow)
    after: dict[str, str] = {}
    for block, root in zip(blocks, roots, strict=True):
        scaled = n.op("Mul", root, n.op("Sqrt", grow))
        kept = _lifted(n, n.op("Mul", block.name, keeps), block.shape, n.flat(added))
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


def _lifted(n: Typed, p: str, shape: tuple[int, ...], by: str) -> str:
    """P with ``by`` more on its diagonals."""
    places = _diagonal(shape)
    lifted = n.op("Mul", by, n.c(np.ones(len(places))))
    if len(places) < MANY:
        indices = np.stack(np.unravel_index(places, shape), 1)
        return n.op("ScatterND", p, n.i(indices), lifted, reduction="add")
    flat = n.op("ScatterElements", n.flat(p), n.i(places), lifted, axis=0, reduction="add")
    return n.op("Reshape", flat, n.i(shape))


def _diagonal(shape: tuple[int, ...]) -> np.ndarray:
    """Where the diagonals lie in what is flat."""
    size = shape[-1]
    first = np.arange(math.prod(shape[:-2])) * size * size
    return (first[:, None] + np.arange(size) * (size + 1)).ravel()


def _dots(n: Typed, some: Sequence[str], others: Sequence[str], more: float = 0.0) -> str:
    """The sum of products of one row, and ``more``."""
    if len(some) == 1:
        return n.op("Gemm", some[0], others[0], n.c(more), transB=1)
    # The first are (n, 1, g), the second (1, m).
    found = []
    for dimensions, a, b in zip((3, 2), some, others, strict=True):
        found.append(n.total(n.op("Mul", a, b), range(dimensions)))
    return _summed(n, [*found, n.c(more)] if more else found)


def _summed(n: Typed, values: list[str]) -> str:
    total, *others = values
    for other in others:
        total = n.op("Add", total, other)
    return total
