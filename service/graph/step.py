"""One learning step as a plain ONNX graph: any stock onnxruntime can learn, and replay a log.

The graph takes the tensors of a state under the names of its file (`service.state.arrays`),
labelled ``rows`` (B, n), their ``labels`` (B,), the ``step_size`` in force and the number of this
step, ``steps``; it gives the ``probabilities`` (B, K) from before the step, those of each of the
``members`` (M, B, K), and every tensor after it as ``next.<name>``. It has no gradient operators
and draws no random numbers. `service.dll` is the same rule to read, and its oracle.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from service.graph.moments import learned, one_hot, standardised
from service.graph.nodes import Nodes
from service.state import Network, State, arrays
from service.state.network import CENTRES, FORGETTING, LEAK, LEAST, RATE, WIDTH
from service.state.state import BIRTH_GAIN

FORMAT = 2
"""Of the graph: another one wherever the same configuration gives other bytes. 1 scaled updates,
not errors."""

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class CannotStep(Exception):
    """The graph cannot do what this configuration asks for; the message says what."""


def step_graph(state: State) -> bytes:
    """The serialised step of learners that are configured as this state's.

    Raises
    ------
    CannotStep
        A configuration with rehearsal, or with a gain by blocks.
    """
    return _Step(state).serialised()


def predict_graph(state: State) -> bytes:
    """The first part of `step_graph`: ``rows`` and the tensors that a prediction reads →
    ``probabilities`` and ``members``."""
    return _Step(state).serialised(learns=False)


class _Step:
    """The graph while it is built."""

    def __init__(self, state: State) -> None:
        self.n = Nodes()
        self.configuration = state.configuration
        self.named = arrays(state)
        self.float = state.configuration.precision.type
        self.type = (
            TensorProto.DOUBLE if state.configuration.dtype == "float64" else TensorProto.FLOAT
        )
        self.after: dict[str, str] = {}

    def serialised(self, learns: bool = True) -> bytes:
        configuration, n = self.configuration, self.n
        if learns and configuration.rehearses:
            raise CannotStep("expected no member that rehearses, found one")
        z = standardised(n, configuration.ranges, self.type)
        hot, measured = "", configuration.measured
        if configuration.values:
            hot = one_hot(n, configuration.hot, self.type)
            z = n.op("Gather", z, n.constant(measured, np.int64), axis=1) if measured else z
        inputs = {False: z}
        if any(network.population_code for network in configuration.networks):
            inputs[True] = self._encoded(z)
        if hot:
            behind = {code: [x] if measured else [] for code, x in inputs.items()}
            inputs = {code: n.op("Concat", hot, *x, axis=1) for code, x in behind.items()}
        alone = len(configuration.networks) == 1
        passes = []
        for network in configuration.networks:
            prefix = "" if alone else f"{network.name}."
            passes.append(self._passed(network, prefix, inputs[network.population_code]))
        said = [p[0] for p in passes]
        n.op("Concat", *(self._unsqueezed(p, 0) for p in said), name="members", axis=0)
        if alone:
            n.op("Identity", said[0], name="probabilities")
        else:
            evidence = self._mixed()
        if not learns:
            return self._model(learns=False)
        target = self._target()
        if not alone:
            self._mixture(target, evidence)
        for network, (y, vs, hidden) in zip(configuration.networks, passes, strict=True):
            prefix = "" if alone else f"{network.name}."
            self._stepped(network, prefix, self._error(target, y), vs, hidden)
        self.after |= learned(n)
        for name, value in self.after.items():
            n.op("Identity", value, name=f"next.{name}")
        return self._model()

    # Parts

    def _c(self, value: object) -> str:
        return self.n.constant(value, self.float)

    def _d(self, value: object) -> str:
        return self.n.constant(value, np.float64)

    def _unsqueezed(self, value: str, axis: int) -> str:
        return self.n.op("Unsqueeze", value, self.n.constant([axis], np.int64))

    def _cast(self, value: str, kind: int | None = None) -> str:
        return self.n.cast(value, kind or self.type)

    def _encoded(self, z: str) -> str:
        n = self.n
        each = self._unsqueezed(z, 2)
        off = n.op("Sub", each, self._c(CENTRES))
        bumps = n.op("Exp", n.op("Mul", n.op("Mul", off, off), self._c(-0.5 / WIDTH**2)))
        return n.op("Flatten", n.op("Concat", each, bumps, axis=2), axis=1)

    def _passed(self, network: Network, prefix: str, x: str) -> tuple[str, list[str], list[str]]:
        """Probabilities, each layer's presynaptic activity, each hidden layer's activity."""
        n, vs, hidden = self.n, [x], list[str]()
        layers = len(network.hidden) + 1
        for layer in range(1, layers + 1):
            weight, bias = f"{prefix}weight.{layer}", f"{prefix}bias.{layer}"
            a = n.op("Gemm", vs[-1], weight, bias, transB=1)
            if layer == layers:
                return n.op("Softmax", a, axis=1), vs, hidden
            match network.activation:
                case "tanh":
                    active = n.op("Tanh", a)
                case "relu":
                    active = n.op("Relu", a)
                case _:
                    active = n.op("Max", a, n.op("Mul", a, self._c(LEAK)))
            hidden.append(active)
            skips = network.skip and layer == layers - 1
            vs.append(n.op("Concat", active, x, axis=1) if skips else active)
        raise AssertionError

    def _target(self) -> str:
        n, classes = self.n, self.configuration.classes
        # Of doubles onnxruntime has no OneHot.
        values = n.constant([0.0, 1.0], np.float32)
        target = n.op("OneHot", "labels", n.constant(classes, np.int64), values, axis=1)
        if self.float is np.float64:
            target = self._cast(target)
        smooth = self.configuration.label_smoothing
        if smooth:
            target = n.op(
                "Add", n.op("Mul", target, self._c(1 - smooth)), self._c(smooth / classes)
            )
        return target

    def _error(self, target: str, y: str) -> str:
        n = self.n
        error = n.op("Sub", target, y)
        if not self.configuration.class_weights:
            return error
        weights = n.op("Gather", self._c(self.configuration.class_weights), "labels")
        return n.op("Mul", error, self._unsqueezed(weights, 1))

    def _mixed(self) -> str:
        n = self.n
        evidence = n.op("Log", n.op("Max", "members", self._c(LEAST)))
        weights = self._unsqueezed(self._unsqueezed("mixture", 1), 2)
        summed = n.total(n.op("Mul", weights, evidence), [0])
        n.op("Softmax", summed, name="probabilities", axis=1)
        return evidence

    def _mixture(self, target: str, evidence: str) -> None:
        n = self.n
        error = n.op("Sub", target, "probabilities")
        over = n.total(n.op("Mul", evidence, error), [2])
        change = n.op("ReduceMean", over, n.constant([1], np.int64), keepdims=0)
        moved = n.op("Add", "mixture", n.op("Mul", change, self._c(RATE)))
        self.after["mixture"] = n.op("Max", moved, self._c(0.0))

    def _stepped(
        self, network: Network, prefix: str, output: str, vs: list[str], hidden: list[str]
    ) -> None:
        n = self.n
        errors, apical = [output], list[str]()
        for layer in range(len(network.hidden), 0, -1):
            heard = n.op("MatMul", errors[0], f"{prefix}feedback.{layer + 1}")
            errors.insert(0, n.op("Mul", heard, self._slope(network, hidden[layer - 1])))
            apical.insert(0, heard)
        eta = n.op("Mul", "step_size", self._d(network.step_size))
        # What scales an update scales its error, which is a row: a pass over the weights less.
        scaled = errors
        if network.optimiser != "adam":
            scaled = [n.op("Mul", error, self._cast(eta)) for error in errors]
        if network.optimiser == "gain":
            raw = [
                self._gained(network, prefix, layer, error, v)
                for layer, (error, v) in enumerate(zip(scaled, vs, strict=True), 1)
            ]
            keep = self._c(1 - network.decay)
        else:
            raw = [self._gradient(error, v) for error, v in zip(scaled, vs, strict=True)]
            decay = n.op("Mul", eta, self._d(network.decay))
            keep = self._cast(n.op("Sub", self._d(1.0), decay))
        if network.optimiser == "adam":
            updates = self._by_adam(network, prefix, raw, eta)
        else:
            updates = [(self._bounded(network, w), self._bounded(network, b)) for w, b in raw]
        shrinks = network.feedback_rule == "kolen_pollack"
        for layer, (w, b) in enumerate(updates, 1):
            weight, bias = f"{prefix}weight.{layer}", f"{prefix}bias.{layer}"
            kept = n.op("Mul", weight, keep) if shrinks else weight
            self.after[weight] = n.op("Add", kept, w)
            self.after[bias] = n.op("Add", bias, b)
        for layer in range(2, len(network.hidden) + 2):
            theta = f"{prefix}feedback.{layer}"
            if shrinks:
                change = updates[layer - 1][0]
                if network.skip and layer == len(network.hidden) + 1:
                    change = n.columns(change, 0, network.hidden[-1])
                kept = n.op("Mul", theta, keep)
            elif network.feedback_rule == "fixed":
                self.after[theta] = theta
                continue
            else:
                sign = 1.0 if network.feedback_rule == "hebbian" else -1.0
                step = self._cast(n.op("Mul", eta, self._d(sign * network.feedback_step)))
                product = n.op("Gemm", errors[layer - 1], apical[layer - 2], transA=1)
                change = n.op("Mul", n.op("Div", product, self._rows()), step)
                kept = theta
            self.after[theta] = n.op("Add", kept, self._bounded(network, change))

    def _slope(self, network: Network, x: str) -> str:
        n = self.n
        if network.activation == "tanh":
            return n.op("Sub", self._c(1.0), n.op("Mul", x, x))
        above = self._cast(n.op("Greater", x, self._c(0.0)))
        if network.activation == "relu":
            return above
        return n.op("Add", n.op("Mul", above, self._c(1 - LEAK)), self._c(LEAK))

    def _rows(self) -> str:
        """B, in the network's precision."""
        return self._cast(self.n.op("Size", "labels"))

    def _bounded(self, network: Network, update: str) -> str:
        bound = network.max_update
        return self.n.op("Clip", update, self._c(-bound), self._c(bound))

    def _gradient(self, error: str, v: str) -> tuple[str, str]:
        n = self.n
        if self.configuration.rows_per_step != 1:
            error = n.op("Div", error, self._rows())
        return n.op("Gemm", error, v, transA=1), n.total(error, [0])

    def _by_adam(
        self, network: Network, prefix: str, raw: list[tuple[str, str]], eta: str
    ) -> list[tuple[str, str]]:
        """Kingma & Ba 2015, algorithm 1."""
        n = self.n
        step = self._cast(self.n.op("Identity", "steps"), TensorProto.DOUBLE)
        root = n.op("Sqrt", n.op("Sub", self._d(1.0), n.op("Pow", self._d(BETA_2), step)))
        first_bias = n.op("Sub", self._d(1.0), n.op("Pow", self._d(BETA_1), step))
        rate = self._cast(n.op("Div", n.op("Mul", eta, root), first_bias))
        least = self._cast(n.op("Mul", self._d(EPSILON), root))
        found = []
        for index, g in enumerate([*(w for w, _ in raw), *(b for _, b in raw)], 1):
            m, v = f"{prefix}adam.first.{index}", f"{prefix}adam.second.{index}"
            moved = n.op("Mul", n.op("Sub", g, m), self._c(1 - BETA_1))
            self.after[m] = n.op("Add", m, moved)
            squared = n.op("Mul", n.op("Mul", g, g), self._c(1 - BETA_2))
            self.after[v] = n.op("Add", n.op("Mul", v, self._c(BETA_2)), squared)
            below = n.op("Add", n.op("Sqrt", self.after[v]), least)
            update = n.op("Div", n.op("Mul", self.after[m], rate), below)
            found.append(self._bounded(network, update))
        return list(zip(found[: len(raw)], found[len(raw) :], strict=True))

    def _gained(
        self, network: Network, prefix: str, layer: int, error: str, v: str
    ) -> tuple[str, str]:
        """`service.dll.gain` for one row."""
        n, name = self.n, f"{prefix}gain.{layer}.1"
        if f"{prefix}gain.{layer}.2" in self.named:
            raise CannotStep(
                f"expected a P of one block in each layer, found blocks in layer {layer}"
            )
        size = len(self.named[name])
        v1 = n.op("Concat", v, self._c([[1.0]]), axis=1)
        k = n.op("MatMul", v1, name)
        s = n.total(n.op("Mul", v1, k), [0, 1])
        turned = n.op("Less", s, self._c(0.0))  # its positivity, to rounding: it begins anew
        fresh = n.op("Mul", v1, self._c(BIRTH_GAIN))
        k = n.op("Where", turned, fresh, k)
        s = n.op("Where", turned, n.total(n.op("Mul", v1, fresh), [0, 1]), s)
        p = n.op("Where", turned, self._c(0.0), name)
        norm = n.op("Add", s, self._c(FORGETTING))
        # Diagonal, and its trace anew.
        places = n.constant(np.arange(size) * (size + 1), np.int64)
        flat = n.op("Reshape", p, n.constant([-1], np.int64))
        root = n.op("Div", k, n.op("Sqrt", norm))
        squared = n.op("Reshape", n.op("Mul", root, root), n.constant([-1], np.int64))
        begun = n.op("Where", turned, self._c(BIRTH_GAIN), self._c(0.0))
        diagonal = n.op("Sub", n.op("Add", n.op("Gather", flat, places), begun), squared)
        diagonal = n.op("Div", diagonal, self._c(FORGETTING))
        diagonal = n.op("Add", diagonal, self._c(network.gain_floor))
        trace = n.total(diagonal, [0])
        f = n.op("Min", self._c(1.0), n.op("Div", self._c(BIRTH_GAIN * size), trace))
        grow = n.op("Div", f, self._c(FORGETTING))
        scaled = n.op("Mul", root, n.op("Sqrt", grow))
        outer = n.op("Mul", n.op("Transpose", scaled, perm=[1, 0]), scaled)
        moved = n.op("Sub", n.op("Mul", p, grow), outer)
        # The floor goes onto the diagonal alone, and what a new P begins with.
        at = n.constant(np.stack([np.arange(size)] * 2, 1), np.int64)
        floor = n.op("Add", n.op("Mul", f, self._c(network.gain_floor)), n.op("Mul", begun, grow))
        floor = n.op("Expand", floor, n.constant([size], np.int64))
        self.after[name] = n.op("ScatterND", moved, at, floor, reduction="add")
        gain = n.op("Div", k, norm)
        whole = n.op("MatMul", n.op("Transpose", error, perm=[1, 0]), gain)
        bias = n.op("Reshape", n.columns(whole, size - 1, size), n.constant([-1], np.int64))
        return n.columns(whole, 0, size - 1), bias

    def _model(self, learns: bool = True) -> bytes:
        info = helper.make_tensor_value_info
        sensors, classes = len(self.configuration.ranges), self.configuration.classes
        inputs = [
            info("rows", self.type, ["rows", sensors]),
            info("labels", TensorProto.INT64, ["rows"]),
            info("step_size", TensorProto.DOUBLE, []),
            info("steps", TensorProto.INT64, []),
        ]
        outputs = [
            info("probabilities", self.type, ["rows", classes]),
            info("members", self.type, [len(self.configuration.networks), "rows", classes]),
        ]
        if not learns:
            del inputs[1:]
        read = {name for node in self.n.nodes for name in node.input}
        for name, array in self.named.items():
            if not learns and name not in read:
                continue
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            inputs.append(info(name, kind, array.shape))
            if learns:
                outputs.append(info(f"next.{name}", kind, array.shape))
        return self.n.serialised("local_learning_step", inputs, outputs)
