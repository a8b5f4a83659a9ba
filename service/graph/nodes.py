"""Nodes and constants of a graph under construction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
IR_VERSION = 10


class Nodes:
    """Nodes so far; each call of `op` adds one and gives the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self._names: dict[bytes, str] = {}

    def op(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """One node; ``name`` names its output, which is numbered otherwise."""
        output = name or f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(operator, list(inputs), [output], None, None, None, None, **attributes)
        )
        return output

    def constant(self, value: Any, dtype: Any) -> str:
        """A constant by its value; the same one twice is one."""
        array = np.asarray(value, dtype)
        key = array.dtype.str.encode() + repr(array.shape).encode() + array.tobytes()
        if key not in self._names:
            name = self._names[key] = f"c{len(self._names)}"
            self.constants[name] = array
        return self._names[key]

    def renamed(self, names: Mapping[str, str]) -> None:
        """Give outputs of nodes other names."""
        for node in self.nodes:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]

    def serialised(
        self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> bytes:
        """The whole model, checked."""
        constants = [numpy_helper.from_array(value, at) for at, value in self.constants.items()]
        model = helper.make_model(
            helper.make_graph(self.nodes, name, inputs, outputs, constants),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="apical",
        )
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())

    def columns(self, matrix: str, first: int, last: int) -> str:
        """Columns ``first`` to ``last`` of a matrix."""
        ends = (self.constant([bound], np.int64) for bound in (first, last, 1))
        return self.op("Slice", matrix, *ends)

    def total(self, of: str, axes: Sequence[int], keep: int = 0) -> str:
        return self.op("ReduceSum", of, self.constant(list(axes), np.int64), keepdims=keep)

    def cast(self, of: str, kind: int) -> str:
        """``kind`` is of TensorProto."""
        return self.op("Cast", of, to=kind)


class Typed(Nodes):
    """Nodes of a graph that computes in one precision.

    Parameters
    ----------
    dtype
        ``float32``, or ``float64`` for proofs.
    """

    def __init__(self, dtype: str) -> None:
        super().__init__()
        self.float = np.dtype(dtype).type
        self.type = TensorProto.DOUBLE if dtype == "float64" else TensorProto.FLOAT

    def c(self, value: object) -> str:
        """A constant in the graph's precision."""
        return self.constant(value, self.float)

    def d(self, value: object) -> str:
        """A constant in double precision."""
        return self.constant(value, np.float64)

    def i(self, value: object) -> str:
        """A whole number, or several."""
        return self.constant(value, np.int64)

    def typed(self, of: str) -> str:
        """In the graph's precision."""
        return self.cast(of, self.type)

    def unsqueezed(self, value: str, axis: int) -> str:
        return self.op("Unsqueeze", value, self.i([axis]))

    def flat(self, value: str) -> str:
        return self.op("Reshape", value, self.i([-1]))
