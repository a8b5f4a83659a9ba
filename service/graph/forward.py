"""The network as an ONNX graph that takes raw sensor units.

Built with onnx.helper: torch's exporter takes half a second, and serves as the oracle in the tests.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from service.graph.nodes import Nodes
from service.state import Configuration, Member, Network, State, scale
from service.state.moments import CLIP
from service.state.network import CENTRES, LEAK, LEAST, WIDTH

INPUT = "readings"
OUTPUT = "probabilities"


def to_onnx(state: State) -> bytes:
    """The serialised graph: readings (batch, n) → probabilities (batch, n_L), float32.

    Standardisation stands as nodes of its own. Multiplied into the weights it would lose digits on
    large readings. Missing readings (NaN) become the running mean, which is 0 once standardised.
    """
    configuration = state.configuration
    in_force = scale(state.moments, configuration.ranges, configuration.precision)
    graph = Nodes()
    graph.constants |= {
        "mean": in_force.mean,
        "deviation": in_force.deviation,
        "low": np.array(-CLIP, np.float32),
        "high": np.array(CLIP, np.float32),
        "zero": np.array(0, np.float32),
    }
    graph.op("IsNaN", INPUT, name="missing")
    graph.op("Sub", INPUT, "mean", name="centred")
    graph.op("Div", "centred", "deviation", name="scaled")
    graph.op("Clip", "scaled", "low", "high", name="clipped")
    some = bool(configuration.values)
    graph.op("Where", "missing", "zero", "clipped", name="standardised" if some else "x0")
    networks, alone = configuration.networks, len(state.members) == 1
    codes = any(network.population_code for network in networks)
    if some:
        _read(graph, configuration, codes)
    elif codes:
        _encode(graph, "x0", "coded")
    for index, (network, member) in enumerate(zip(networks, state.members, strict=True)):
        said = OUTPUT if alone else f"p_{index}"
        first = "coded" if network.population_code and configuration.measured else "x0"
        _network(graph, network, member, first, "" if alone else f"{index}.", said)
    if not alone:
        _mix(graph, state.mixture)
    sensors, classes = len(configuration.ranges), configuration.classes
    matrix = helper.make_tensor_value_info
    return graph.serialised(
        "dendritic_localized_learning",
        [matrix(INPUT, TensorProto.FLOAT, ["batch", sensors])],
        [matrix(OUTPUT, TensorProto.FLOAT, ["batch", classes])],
    )


def _read(graph: Nodes, configuration: Configuration, codes: bool) -> None:
    """x_0 where some sensors have values: these one-hot, none where one is missing, and behind them
    the sensors that measure."""
    columns, indices = np.array(configuration.hot, np.int64).T
    graph.constants |= {
        "columns": np.ascontiguousarray(columns),
        "indices": indices.astype(np.float32),
    }
    measured = configuration.measured
    graph.op("Gather", INPUT, "columns", name="given", axis=1)
    graph.op("Equal", "given", "indices", name="is")
    graph.op("Cast", "is", name="hot" if measured else "x0", to=TensorProto.FLOAT)
    if measured:
        graph.constants["measured"] = np.array(measured, np.int64)
        graph.op("Gather", "standardised", "measured", name="z", axis=1)
        graph.op("Concat", "hot", "z", name="x0", axis=-1)
    if codes and measured:
        _encode(graph, "z", "bumped")
        graph.op("Concat", "hot", "bumped", name="coded", axis=-1)


def _encode(graph: Nodes, z: str, name: str) -> None:
    """Each sensor and its bumps, sensor by sensor."""
    graph.constants |= {
        "last": np.array([2], np.int64),
        "centres": np.array(CENTRES, np.float32),
        "narrow": np.array(-0.5 / WIDTH**2, np.float32),
    }
    graph.op("Unsqueeze", z, "last", name="each")
    graph.op("Sub", "each", "centres", name="off")
    graph.op("Mul", "off", "off", name="square")
    graph.op("Mul", "square", "narrow", name="exponent")
    graph.op("Exp", "exponent", name="bumps")
    graph.op("Concat", "each", "bumps", name="code", axis=-1)
    graph.op("Flatten", "code", name=name, axis=1)


def _network(
    graph: Nodes, network: Network, member: Member, first: str, prefix: str, said: str
) -> None:
    """What one network says of its inputs, ``first``."""
    below = first
    synapses = member.synapses
    last = len(synapses.weights)
    for layer, (weight, bias) in enumerate(zip(synapses.weights, synapses.biases, strict=True), 1):
        w, b, a, x = (f"{prefix}{name}{layer}" for name in "Wbax")
        graph.constants |= {w: weight, b: bias}
        graph.op("Gemm", below, w, b, name=a, transB=1)
        if layer == last:
            graph.op("Softmax", a, name=said, axis=1)
            return
        match network.activation:
            case "tanh":
                graph.op("Tanh", a, name=x)
            case "relu":
                graph.op("Relu", a, name=x)
            case _:
                graph.constants["leak"] = np.array(LEAK, np.float32)
                graph.op("Mul", a, "leak", name=f"{x}.leaked")
                graph.op("Max", a, f"{x}.leaked", name=x)
        below = x
        if network.skip and layer == last - 1:
            below = f"{prefix}v{last}"
            graph.op("Concat", x, first, name=below, axis=-1)


def _mix(graph: Nodes, weights: NDArray[Any]) -> None:
    """The mixing neuron over the members' ``p_k``."""
    graph.constants |= {"least": np.array(LEAST, np.float32), "one": np.array(1, np.float32)}
    total = ""
    for index, weight in enumerate(weights):
        v, bounded, log, share = (f"{name}_{index}" for name in ("v", "bounded", "log", "share"))
        graph.constants[v] = np.asarray(weight)
        graph.op("Clip", f"p_{index}", "least", "one", name=bounded)
        graph.op("Log", bounded, name=log)
        graph.op("Mul", log, v, name=share)
        if total:
            graph.op("Add", total, share, name=f"sum_{index}")
        total = f"sum_{index}" if total else share
    graph.op("Softmax", total, name=OUTPUT, axis=1)
