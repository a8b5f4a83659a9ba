"""What a replica checks of an ONNX file before onnxruntime sees it.

Whoever can write to the store can sign a snapshot, so a digest does not make a graph harmless. What
is not known here is refused: a graph may hold what `service/graph/forward.py` writes, and no more.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from onnx import AttributeProto, TensorProto

from service.graph.session import INPUT, OUTPUT
from service.schema import Schema

MAX_BYTES = 64 * 2**20
"""The largest file that is read at all: 16 million weights."""

MAX_STRUCTURE_BYTES = 64 * 2**10
"""All but the weights. Parsing makes 76 bytes of memory out of one such byte, so it is bounded
before; the deepest network that can be configured needs 2 KiB."""

MAX_NODES = 256
MAX_TENSORS = 256
MAX_WIDTH = 12288
"""Widest layer. A weight of shape (16 million, 1) is a small file and a huge activation."""

MAX_BUMPS = 16
"""Of a sensor's population code."""

IR_VERSION = 10
OPSET = 20

OPERATORS: dict[str, list[tuple[str, int, int]]] = {
    "IsNaN": [],
    "Sub": [],
    "Div": [],
    "Clip": [],
    "Where": [],
    "Unsqueeze": [],
    "Mul": [],
    "Exp": [],
    "Concat": [("axis", AttributeProto.INT, -1)],
    "Flatten": [("axis", AttributeProto.INT, 1)],
    "Gemm": [("transB", AttributeProto.INT, 1)],
    "Tanh": [],
    "Relu": [],
    "Max": [],
    "Log": [],
    "Add": [],
    "Softmax": [("axis", AttributeProto.INT, 1)],
    "Gather": [("axis", AttributeProto.INT, 1)],
    "Equal": [],
    "Cast": [("to", AttributeProto.INT, TensorProto.FLOAT)],
}
"""Each operator with its attributes: name, type, value."""

FIELDS = {
    "ModelProto": {"ir_version", "producer_name", "graph", "opset_import"},
    "OperatorSetIdProto": {"domain", "version"},
    "GraphProto": {"name", "node", "initializer", "input", "output"},
    "NodeProto": {"op_type", "input", "output", "attribute"},
    "AttributeProto": {"name", "type", "i"},
    "TensorProto": {"name", "dims", "data_type", "raw_data"},
    "ValueInfoProto": {"name", "type"},
    "TypeProto": {"tensor_type"},
    "Tensor": {"elem_type", "shape"},
    "TensorShapeProto": {"dim"},
    "Dimension": {"dim_value", "dim_param"},
}
"""Fields that may be set, by message. Not among them: external data, functions, subgraphs, custom
domains, sparse and quantised tensors, and whatever ONNX will have next."""

RAW_DATA = (7, 5, 9)
"""Field numbers of ModelProto.graph, GraphProto.initializer and TensorProto.raw_data."""

Shape = tuple[int | str, ...]
"""Of a constant (m, k), and ("columns", n, highest) of n that name columns, or an axis; of what is
computed ("batch", w) or ("batch", n, g), and ("mask", w) where it is boolean."""


class GraphRefused(Exception):
    """A graph did not pass a check; the message says where, what was expected and what found."""


def check_graph(data: bytes, schema: Schema) -> None:
    """Check a serialised model that reads (B, n) `readings` and gives (B, K) `probabilities`.

    Parameters
    ----------
    data
        The file, its digest verified.
    schema
        Of the snapshot: n sensors, K classes.

    Raises
    ------
    GraphRefused
        It holds anything that our export does not write, or more of it than the bounds allow.
    """
    _expect(len(data) <= MAX_BYTES, "file", f"at most {MAX_BYTES} bytes", len(data))
    _spend(memoryview(data), RAW_DATA, MAX_STRUCTURE_BYTES)
    try:
        model = onnx.load_from_string(data)
    except DecodeError as cause:
        raise GraphRefused(f"file: expected a serialised ONNX model, found {cause}") from cause
    graph = model.graph
    for what, items, most in (
        ("nodes", graph.node, MAX_NODES),
        ("initializers", graph.initializer, MAX_TENSORS),
    ):
        _expect(len(items) <= most, "graph", f"at most {most} {what}", len(items))
    for index, node in enumerate(graph.node):
        known = node.op_type in OPERATORS and not node.domain
        operator = f"operator {node.domain or 'ai.onnx'}.{node.op_type}"
        _expect(known, f"graph.node[{index}]", f"one of {', '.join(OPERATORS)}", operator)
    _only_known_fields(model, "model")
    # Unknown or repeated fields, which this reader skipped, may mean something to onnxruntime's.
    model.DiscardUnknownFields()
    once, more = "known fields, each written once", len(data) - model.ByteSize()
    _expect(more == 0, "file", once, f"{more} bytes more")
    versions = (model.ir_version, [(o.domain, o.version) for o in model.opset_import])
    expected = (IR_VERSION, [("", OPSET)])
    _expect(versions == expected, "model: IR version and opsets", expected, versions)
    sensors, classes = len(schema.sensors), len(schema.classes)
    _check_matrix(graph.input, "graph.input", INPUT, sensors)
    _check_matrix(graph.output, "graph.output", OUTPUT, classes)

    shapes: dict[str, Shape] = {INPUT: ("batch", sensors)}
    for index, tensor in enumerate(graph.initializer):
        where = f"graph.initializer[{index}] {tensor.name!r}"
        _expect(tensor.name not in shapes, where, "a name of its own", "one in use")
        shapes[tensor.name] = _constant(tensor, where)
    for index, node in enumerate(graph.node):
        where = f"graph.node[{index}] {node.op_type}"
        attributes = [(a.name, a.type, a.i) for a in node.attribute]
        wanted = OPERATORS[node.op_type]
        _expect(attributes == wanted, f"{where}: attributes", wanted, attributes)
        undefined = [name for name in node.input if name not in shapes]
        _expect(not undefined, where, "inputs that are defined before it", undefined)
        fresh = len(node.output) == 1 and node.output[0] not in shapes
        _expect(fresh, where, "one output with a name of its own", list(node.output))
        shapes[node.output[0]] = _result(node.op_type, [shapes[n] for n in node.input], where)
    found = shapes.get(OUTPUT)
    _expect(found == ("batch", classes), OUTPUT, f"shape {('batch', classes)}", found)


def _expect(holds: bool, where: str, expected: object, found: object) -> None:
    if not holds:
        # What a stranger wrote must not fill the log.
        raise GraphRefused(f"{where:.200}: expected {expected}, found {found!s:.200}")


def _spend(data: memoryview, weights: Sequence[int], left: int) -> int:
    """What is left of a budget of bytes after all of a message but its weights.

    Walks protobuf's wire format, each step spending at least two bytes, so a bomb ends it soon.
    """
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                _, at = _varint(data, at)
                end = at
            case 1:
                end = at + 8
            case 2:
                size, at = _varint(data, at)
                end = at + size
            case 5:
                end = at + 4
            case kind:
                raise GraphRefused(f"file: expected protobuf's wire types, found {kind}")
        _expect(end <= len(data), "file", f"a field of {end - at} bytes", f"{len(data) - at} left")
        if tag == weights[0] << 3 | 2:
            left -= at - start
            if len(weights) > 1:
                left = _spend(data[at:end], weights[1:], left)
        else:
            left -= end - start
        if left < 0:
            raise GraphRefused(
                f"file: expected at most {MAX_STRUCTURE_BYTES} bytes beside the weights, found more"
            )
        at = end
    return left


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[at : at + 10]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, at + index + 1
    raise GraphRefused(f"file: expected a varint, found {bytes(data[at : at + 10]).hex()}")


def _only_known_fields(message: Any, path: str) -> None:
    allowed = FIELDS[message.DESCRIPTOR.name]
    for field, value in message.ListFields():
        _expect(field.name in allowed, path, f"only {', '.join(sorted(allowed))}", field.name)
        one = isinstance(value, Message | str | bytes | int)
        for index, item in enumerate([value] if one else value):
            where = f"{path}.{field.name}" if one else f"{path}.{field.name}[{index}]"
            if isinstance(item, Message):
                name = getattr(item, "op_type", None) or getattr(item, "name", "")
                _only_known_fields(item, f"{where} {name}".rstrip())
            # What is not UTF-8 comes as bytes.
            elif field.name != "raw_data":
                _expect(not isinstance(item, bytes), where, "UTF-8", item)


def _check_matrix(infos: Sequence[Any], where: str, name: str, width: int) -> None:
    types = [info.type.tensor_type for info in infos]
    dims = [[dim.dim_param or dim.dim_value for dim in t.shape.dim] for t in types]
    found = [(i.name, t.elem_type, d) for i, t, d in zip(infos, types, dims, strict=True)]
    expected = [(name, TensorProto.FLOAT, ["batch", width])]
    _expect(found == expected, f"{where}: name, type, shape", expected, found)


def _constant(tensor: TensorProto, where: str) -> Shape:
    whole = tensor.data_type == TensorProto.INT64
    known = whole or tensor.data_type == TensorProto.FLOAT
    _expect(known, where, "float32", f"type {tensor.data_type}")
    shape = tuple(tensor.dims)
    most = 1 if whole else 2
    bounded = len(shape) <= most and all(1 <= dim <= MAX_WIDTH for dim in shape)
    _expect(bounded, where, f"at most {most} dimensions from 1 to {MAX_WIDTH}", shape)
    size = (8 if whole else 4) * math.prod(shape)
    held = len(tensor.raw_data)
    _expect(held == size, where, f"{size} bytes for shape {shape}", held)
    if not whole:
        return shape
    columns = struct.unpack(f"<{math.prod(shape)}q", tensor.raw_data)
    inside = len(shape) == 1 and all(0 <= column < MAX_WIDTH for column in columns)
    _expect(inside, where, f"columns from 0 to {MAX_WIDTH - 1}", columns[:12])
    return ("columns", len(columns), max(columns))


def _result(operator: str, inputs: list[Shape], where: str) -> Shape:
    """The shape that a node gives. Nothing may broadcast but over the batch: two small tensors
    would make a huge one."""
    match operator, inputs:
        case "IsNaN", [("batch", w)]:
            return ("mask", w)
        case "Tanh" | "Relu" | "Log" | "Softmax", [("batch", w)]:
            return ("batch", w)
        case "Sub" | "Div", [("batch", w), (v,)] if v == w:
            return ("batch", w)
        case "Mul", [("batch", w), ()]:
            return ("batch", w)
        case "Add" | "Max", [("batch", w), ("batch", v)] if v == w:
            return ("batch", w)
        case "Concat", [("batch", w), ("batch", v)] if _narrow(w, v):
            return ("batch", int(w) + int(v))
        # A population code: the one place where a third dimension comes and goes.
        case "Unsqueeze", [("batch", n), ("columns", 1, 2)]:
            return ("batch", n, 1)
        case "Sub", [("batch", n, 1), (g,)] if isinstance(g, int) and g <= MAX_BUMPS:
            return ("batch", n, g)
        case "Mul", [("batch", n, g), ("batch", m, h)] if (n, g) == (m, h):
            return ("batch", n, g)
        case "Mul", [("batch", n, g), ()]:
            return ("batch", n, g)
        case "Exp", [("batch", n, g)]:
            return ("batch", n, g)
        case "Concat", [("batch", n, 1), ("batch", m, g)] if n == m:
            return ("batch", n, int(g) + 1)
        case "Flatten", [("batch", n, g)] if int(n) * int(g) <= MAX_WIDTH:
            return ("batch", int(n) * int(g))
        # Values of a sensor, one-hot, and the sensors that measure beside them.
        case "Gather", [("batch", w), ("columns", n, highest)] if int(highest) < int(w):
            return ("batch", n)
        case "Equal", [("batch", w), (v,)] if v == w:
            return ("mask", w)
        case "Cast", [("mask", w)]:
            return ("batch", w)
        case "Clip", [("batch", w), (), ()]:
            return ("batch", w)
        case "Where", [("mask", v), (), ("batch", w)] if v == w:
            return ("batch", w)
        case "Gemm", [("batch", w), (m, k), (n,)] if isinstance(m, int) and k == w and n == m:
            return ("batch", m)
    raise GraphRefused(f"{where}: expected inputs of the shapes that we export, found {inputs}")


def _narrow(w: int | str, v: int | str) -> bool:
    return int(w) + int(v) <= MAX_WIDTH
