"""The network as an ONNX graph that takes raw sensor units.

Built with onnx.helper: torch's exporter takes half a second, and serves as the oracle in the tests.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.state import State, scale
from service.state.moments import CLIP

OPSET = 20
IR_VERSION = 10
INPUT = "readings"
OUTPUT = "probabilities"


def to_onnx(state: State) -> bytes:
    """The serialised graph: readings (batch, n_0) → probabilities (batch, n_L), float32.

    Standardisation stands as nodes of its own. Multiplied into the weights it would lose digits on
    large readings. Missing readings (NaN) become the running mean, which is 0 once standardised.
    """
    configuration = state.configuration
    in_force = scale(state.moments, configuration.ranges, configuration.precision)
    constants = {
        "mean": in_force.mean,
        "deviation": in_force.deviation,
        "low": np.array(-CLIP, np.float32),
        "high": np.array(CLIP, np.float32),
        "zero": np.array(0, np.float32),
    }
    node = helper.make_node
    nodes = [
        node("IsNaN", [INPUT], ["missing"]),
        node("Sub", [INPUT, "mean"], ["centred"]),
        node("Div", ["centred", "deviation"], ["scaled"]),
        node("Clip", ["scaled", "low", "high"], ["clipped"]),
        node("Where", ["missing", "zero", "clipped"], ["x0"]),
    ]
    synapses = state.synapses
    last = len(synapses.weights)
    for layer, (weight, bias) in enumerate(zip(synapses.weights, synapses.biases, strict=True), 1):
        constants[f"W{layer}"] = weight
        constants[f"b{layer}"] = bias
        nodes.append(
            node("Gemm", [f"x{layer - 1}", f"W{layer}", f"b{layer}"], [f"a{layer}"], transB=1)
        )
        if layer < last:
            nodes.append(node("Tanh", [f"a{layer}"], [f"x{layer}"]))
    nodes.append(node("Softmax", [f"a{last}"], [OUTPUT], axis=1))
    widths = configuration.widths
    graph = helper.make_graph(
        nodes,
        "dendritic_localized_learning",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", widths[0]])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", widths[-1]])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="apical",
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
