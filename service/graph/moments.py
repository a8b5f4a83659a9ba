"""How rows are read, as nodes: `service.dll.standardise`, which learns, and values one-hot."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from service.graph.nodes import Nodes
from service.state.moments import CLIP, FADE, FLOOR

READINGS, MEAN, SQUARES = (f"standardise.{k}" for k in ("readings", "mean", "squares"))


def standardised(n: Nodes, ranges: tuple[tuple[float, float], ...], kind: int) -> str:
    """``rows`` by the mean and deviation in force, which are made in double precision."""
    low, high = np.array(ranges, np.float64).T
    declared = (high - low) / math.sqrt(12)
    one, dtype = _double(n, 1.0), np.float64 if kind == TensorProto.DOUBLE else np.float32
    prior = n.op("Exp", n.op("Div", n.op("Neg", READINGS), _double(n, FADE)))
    rest = n.op("Sub", one, prior)
    between = n.op("Div", n.op("Mul", prior, _double(n, low + high)), _double(n, 2.0))
    centre = n.op("Add", between, n.op("Mul", rest, MEAN))
    running = n.op("Sqrt", n.op("Div", SQUARES, n.op("Max", READINGS, one)))
    running = n.op("Max", running, _double(n, declared * FLOOR))
    declared_ = n.op("Pow", _double(n, declared), prior)
    deviation = n.op("Mul", declared_, n.op("Pow", running, rest))
    scaled = n.op("Div", n.op("Sub", "rows", n.cast(centre, kind)), n.cast(deviation, kind))
    bounds = n.constant(-CLIP, dtype), n.constant(CLIP, dtype)
    z = n.op("Clip", scaled, *bounds)
    return n.op("Where", n.op("IsNaN", "rows"), n.constant(0.0, dtype), z)


def one_hot(n: Nodes, hot: tuple[tuple[int, int], ...], kind: int) -> str:
    """``rows`` as ones where a column has an index, by pairs of them: `Configuration.hot`."""
    columns, indices = np.array(hot, np.int64).T
    dtype = np.float64 if kind == TensorProto.DOUBLE else np.float32
    given = n.op("Gather", "rows", n.constant(columns, np.int64), axis=1)
    return n.cast(n.op("Equal", given, n.constant(indices, dtype)), kind)


def learned(n: Nodes) -> dict[str, str]:
    """The moments after ``rows``: Welford's, merged by batch (Chan, Golub & LeVeque 1983)."""
    x = n.cast("rows", TensorProto.DOUBLE)
    missing = n.op("IsNaN", x)
    count = n.total(n.cast(n.op("Not", missing), TensorProto.DOUBLE), [0])
    zero, one = _double(n, 0.0), _double(n, 1.0)
    seen = n.total(n.op("Where", missing, zero, x), [0])
    batch = n.op("Div", seen, n.op("Max", count, one))
    spread = n.op("Where", missing, zero, n.op("Sub", x, batch))
    total = n.op("Add", READINGS, count)
    safe = n.op("Max", total, one)
    shift = n.op("Sub", batch, MEAN)
    some = n.op("Greater", count, zero)
    moved = n.op("Div", n.op("Mul", shift, count), safe)
    between = n.op("Mul", n.op("Mul", n.op("Mul", shift, shift), READINGS), count)
    within = n.total(n.op("Mul", spread, spread), [0])
    grown = n.op("Add", within, n.op("Div", between, safe))
    return {
        READINGS: total,
        MEAN: n.op("Add", MEAN, n.op("Where", some, moved, zero)),
        SQUARES: n.op("Add", SQUARES, n.op("Where", some, grown, zero)),
    }


def _double(n: Nodes, value: object) -> str:
    return n.constant(value, np.float64)
