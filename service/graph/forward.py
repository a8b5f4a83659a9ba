"""The network as an ONNX graph that takes raw sensor units.

Built with onnx.helper: torch's exporter takes half a second, and serves as the oracle in the tests.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service.state import Member, Network, State, scale
from service.state.moments import CLIP
from service.state.network import CENTRES, LEAK, LEAST, WIDTH

OPSET = 20
IR_VERSION = 10
INPUT = "readings"
OUTPUT = "probabilities"


def to_onnx(state: State) -> bytes:
    """The serialised graph: readings (batch, n) → probabilities (batch, n_L), float32.

    Standardisation stands as nodes of its own. Multiplied into the weights it would lose digits on
    large readings. Missing readings (NaN) become the running mean, which is 0 once standardised.
    """
    configuration = state.configuration
    in_force = scale(state.moments, configuration.ranges, configuration.precision)
    graph = _Graph()
    graph.constants |= {
        "mean": in_force.mean,
        "deviation": in_force.deviation,
        "low": np.array(-CLIP, np.float32),
        "high": np.array(CLIP, np.float32),
        "zero": np.array(0, np.float32),
    }
    graph.add("IsNaN", [INPUT], "missing")
    graph.add("Sub", [INPUT, "mean"], "centred")
    graph.add("Div", ["centred", "deviation"], "scaled")
    graph.add("Clip", ["scaled", "low", "high"], "clipped")
    graph.add("Where", ["missing", "zero", "clipped"], "x0")
    networks, alone = configuration.networks, len(state.members) == 1
    if any(network.population_code for network in networks):
        _encode(graph)
    for index, (network, member) in enumerate(zip(networks, state.members, strict=True)):
        said = OUTPUT if alone else f"p_{index}"
        _network(graph, network, member, "" if alone else f"{index}.", said)
    if not alone:
        _mix(graph, state.mixture)
    sensors, classes = len(configuration.ranges), configuration.classes
    made = helper.make_graph(
        graph.nodes,
        "dendritic_localized_learning",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", sensors])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="apical",
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


class _Graph:
    """Nodes and constants so far."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def add(self, operator: str, inputs: list[str], output: str, **attributes: int) -> None:
        self.nodes.append(
            helper.make_node(operator, inputs, [output], None, None, None, None, **attributes)
        )


def _encode(graph: _Graph) -> None:
    """x_0: each sensor and its bumps, sensor by sensor."""
    graph.constants |= {
        "last": np.array([2], np.int64),
        "centres": np.array(CENTRES, np.float32),
        "narrow": np.array(-0.5 / WIDTH**2, np.float32),
    }
    graph.add("Unsqueeze", ["x0", "last"], "each")
    graph.add("Sub", ["each", "centres"], "off")
    graph.add("Mul", ["off", "off"], "square")
    graph.add("Mul", ["square", "narrow"], "exponent")
    graph.add("Exp", ["exponent"], "bumps")
    graph.add("Concat", ["each", "bumps"], "code", axis=-1)
    graph.add("Flatten", ["code"], "coded", axis=1)


def _network(graph: _Graph, network: Network, member: Member, prefix: str, said: str) -> None:
    """What one network says of its inputs."""
    first = "coded" if network.population_code else "x0"
    below = first
    synapses = member.synapses
    last = len(synapses.weights)
    for layer, (weight, bias) in enumerate(zip(synapses.weights, synapses.biases, strict=True), 1):
        w, b, a, x = (f"{prefix}{name}{layer}" for name in "Wbax")
        graph.constants |= {w: weight, b: bias}
        graph.add("Gemm", [below, w, b], a, transB=1)
        if layer == last:
            graph.add("Softmax", [a], said, axis=1)
            return
        match network.activation:
            case "tanh":
                graph.add("Tanh", [a], x)
            case "relu":
                graph.add("Relu", [a], x)
            case _:
                graph.constants["leak"] = np.array(LEAK, np.float32)
                graph.add("Mul", [a, "leak"], f"{x}.leaked")
                graph.add("Max", [a, f"{x}.leaked"], x)
        below = x
        if network.skip and layer == last - 1:
            below = f"{prefix}v{last}"
            graph.add("Concat", [x, first], below, axis=-1)


def _mix(graph: _Graph, weights: NDArray[Any]) -> None:
    """The mixing neuron over the members' ``p_k``."""
    graph.constants |= {"least": np.array(LEAST, np.float32), "one": np.array(1, np.float32)}
    total = ""
    for index, weight in enumerate(weights):
        v, bounded, log, share = (f"{name}_{index}" for name in ("v", "bounded", "log", "share"))
        graph.constants[v] = np.asarray(weight)
        graph.add("Clip", [f"p_{index}", "least", "one"], bounded)
        graph.add("Log", [bounded], log)
        graph.add("Mul", [log, v], share)
        if total:
            graph.add("Add", [total, share], f"sum_{index}")
        total = f"sum_{index}" if total else share
    graph.add("Softmax", [total], OUTPUT, axis=1)
