"""A network's forward pass as nodes: `service.dll.network.activate` in a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from service.graph.nodes import Typed
from service.state import Network
from service.state.network import LEAK


class Pass(NamedTuple):
    """Probabilities (B, K), each layer's presynaptic activity, each hidden layer's activity."""

    said: str
    inputs: list[str]
    hidden: list[str]


def passed(n: Typed, network: Network, named: Callable[[str], str], x: str, said: str = "") -> Pass:
    """``named`` gives what is a synapse's value under its name in the member's file; ``said`` names
    the probabilities, which are numbered otherwise."""
    inputs, hidden = [x], list[str]()
    layers = len(network.hidden) + 1
    for layer in range(1, layers + 1):
        weight, bias = named(f"weight.{layer}"), named(f"bias.{layer}")
        a = n.op("Gemm", inputs[-1], weight, bias, transB=1)
        if layer == layers:
            return Pass(n.op("Softmax", a, name=said, axis=1), inputs, hidden)
        match network.activation:
            case "tanh":
                active = n.op("Tanh", a)
            case "relu":
                active = n.op("Relu", a)
            case _:
                active = n.op("Max", a, n.op("Mul", a, n.c(LEAK)))
        hidden.append(active)
        skips = network.skip and layer == layers - 1
        inputs.append(n.op("Concat", active, x, axis=1) if skips else active)
    raise AssertionError


def sloped(n: Typed, network: Network, x: str, heard: str) -> str:
    """What is ``heard``, times φ' where φ is ``x``."""
    if network.activation == "tanh":
        return n.op("Mul", heard, n.op("Sub", n.c(1.0), n.op("Mul", x, x)))
    above = n.op("Greater", x, n.c(0.0))
    if network.activation == "relu":
        return n.op("Where", above, heard, n.c(0.0))
    return n.op("Where", above, heard, n.op("Mul", heard, n.c(LEAK)))
