"""How rows are read, as nodes: `service.dll.standardise`, which learns, and values one-hot."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from service.graph.nodes import Typed
from service.state import Configuration
from service.state.moments import CLIP, FADE, FLOOR
from service.state.network import CENTRES, WIDTH

READINGS, MEAN, SQUARES = (f"standardise.{k}" for k in ("readings", "mean", "squares"))


def reader(n: Typed, configuration: Configuration) -> Callable[[str], dict[bool, str]]:
    """What reads raw rows (B, n) by the moments in force: x_0 of networks that read sensors as they
    are, under False, and of those with a population code, under True; `service.dll.network.read`
    and `encode`. Mean and deviation are made once, in double precision."""
    in_force = _in_force(n, configuration.ranges)
    measured = configuration.measured
    codes = any(network.population_code for network in configuration.networks)

    def read(rows: str) -> dict[bool, str]:
        z = _standardised(n, rows, *in_force)
        hot = ""
        if configuration.values:
            hot = _one_hot(n, rows, configuration.hot)
            z = n.op("Gather", z, n.i(measured), axis=1) if measured else z
        inputs = {False: z}
        if codes:
            inputs[True] = _encoded(n, z)
        if hot:
            behind = {code: [x] if measured else [] for code, x in inputs.items()}
            inputs = {code: n.op("Concat", hot, *x, axis=1) for code, x in behind.items()}
        return inputs

    return read


def _in_force(n: Typed, ranges: tuple[tuple[float, float], ...]) -> tuple[str, str]:
    low, high = np.array(ranges, np.float64).T
    declared = (high - low) / math.sqrt(12)
    prior = n.op("Exp", n.op("Div", READINGS, n.d(-FADE)))
    off = n.op("Sub", n.d((low + high) / 2), MEAN)
    centre = n.op("Add", MEAN, n.op("Mul", prior, off))
    running = n.op("Sqrt", n.op("Div", SQUARES, n.op("Max", READINGS, n.d(1.0))))
    running = n.op("Max", running, n.d(declared * FLOOR))
    # Powers take longest.
    over = n.op("Pow", n.op("Div", n.d(declared), running), prior)
    return centre, n.op("Mul", running, over)


def _standardised(n: Typed, rows: str, centre: str, deviation: str) -> str:
    centred = n.op("Sub", rows, n.typed(centre))
    scaled = n.op("Div", centred, n.typed(deviation))
    z = n.op("Clip", scaled, n.c(-CLIP), n.c(CLIP))
    return n.op("Where", n.op("IsNaN", rows), n.c(0.0), z)


def _one_hot(n: Typed, rows: str, hot: tuple[tuple[int, int], ...]) -> str:
    """Ones where a column has an index, by pairs of them: `Configuration.hot`."""
    columns, indices = np.array(hot, np.int64).T
    given = n.op("Gather", rows, n.i(columns), axis=1)
    return n.typed(n.op("Equal", given, n.c(indices)))


def _encoded(n: Typed, z: str) -> str:
    each = n.unsqueezed(z, 2)
    off = n.op("Sub", each, n.c(CENTRES))
    bumps = n.op("Exp", n.op("Mul", n.op("Mul", off, off), n.c(-0.5 / WIDTH**2)))
    return n.op("Flatten", n.op("Concat", each, bumps, axis=2), axis=1)


def learned(n: Typed, alone: bool) -> dict[str, str]:
    """The moments after ``rows``: Welford's, merged by batch (Chan, Golub & LeVeque 1983); after
    one row, where that is ``alone`` in every step, in a third of the nodes."""
    x = n.cast("rows", TensorProto.DOUBLE)
    if alone:
        return _one_learned(n, n.flat(x))
    missing = n.op("IsNaN", x)
    zero, one = n.d(0.0), n.d(1.0)
    # Where takes several times as long as Cast and Mul.
    given = n.cast(n.op("Not", missing), TensorProto.DOUBLE)
    count = n.total(given, [0])
    off = n.op("Where", missing, zero, n.op("Sub", x, MEAN))
    summed = n.total(off, [0])
    # Of no reading the sum is 0, so nothing moves.
    shift = n.op("Div", summed, n.op("Max", count, one))
    spread = n.op("Mul", n.op("Sub", off, shift), given)
    within = n.total(n.op("Mul", spread, spread), [0])
    total = n.op("Add", READINGS, count)
    moved = n.op("Div", summed, n.op("Max", total, one))
    between = n.op("Mul", n.op("Mul", shift, moved), READINGS)
    return {
        READINGS: total,
        MEAN: n.op("Add", MEAN, moved),
        SQUARES: n.op("Add", SQUARES, n.op("Add", within, between)),
    }


def _one_learned(n: Typed, x: str) -> dict[str, str]:
    """After one row (n,)."""
    missing = n.op("IsNaN", x)
    total = n.op("Add", READINGS, n.cast(n.op("Not", missing), TensorProto.DOUBLE))
    off = n.op("Sub", n.op("Where", missing, MEAN, x), MEAN)
    moved = n.op("Div", off, n.op("Max", total, n.d(1.0)))
    grown = n.op("Mul", n.op("Mul", off, moved), READINGS)
    return {
        READINGS: total,
        MEAN: n.op("Add", MEAN, moved),
        SQUARES: n.op("Add", SQUARES, grown),
    }
