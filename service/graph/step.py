"""One learning step as a plain ONNX graph: any stock onnxruntime can learn, and replay a log.

The graph takes the tensors of a state under the names of its file (`service.state.arrays`),
labelled ``rows`` (B, n), their ``labels`` (B,), the ``step_size`` in force and the number of this
step, ``steps``; it gives the ``probabilities`` (B, K) from before the step, those of each of the
``members`` (M, B, K), and as ``next.<name>`` every tensor that a step moves; fixed feedback weights
stay what they were. It has no gradient operators and draws no random numbers: what is rehearsed is
drawn by a hash. `service.dll` is the same rule to read, and its oracle.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from service.graph.layers import passed
from service.graph.moments import learned, reader
from service.graph.nodes import Typed
from service.graph.rehearsal import kept, rehearsed
from service.graph.update import Learner
from service.state import State, arrays
from service.state.network import LEAST, RATE

FORMAT = 5
"""Of the graph: another one wherever the same configuration gives other bytes. 1 scaled updates,
not errors; 2 went over each P more often, and torch rehearsed; 3 gave fixed feedback weights again,
and had more nodes, as 4 had."""


class CannotStep(Exception):
    """The graph cannot do what this configuration asks for; the message says what."""


def step_graph(state: State) -> bytes:
    """The serialised step of learners that are configured as this state's.

    Raises
    ------
    CannotStep
        A gain, or rehearsal, with several rows in one step.
    """
    return _Step(state).serialised()


def predict_graph(state: State) -> bytes:
    """The first part of `step_graph`: ``rows`` and the tensors that a prediction reads →
    ``probabilities`` and ``members``."""
    return _Step(state).serialised(learns=False)


def refused(state: State) -> str | None:
    """Why there is no step of a state's configuration as a graph; None where there is one."""
    configuration = state.configuration
    gains = any(network.optimiser == "gain" for network in configuration.networks)
    if configuration.rows_per_step == 1 or not (gains or configuration.rehearses):
        return None
    what = "a gain" if gains else "rehearsal"
    return f"rows_per_step: expected 1 under {what}, found {configuration.rows_per_step}"


class _Step:
    """The graph while it is built."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.configuration = state.configuration
        self.n = Typed(state.configuration.dtype)
        self.named = arrays(state)
        self.after: dict[str, str] = {}

    def serialised(self, learns: bool = True) -> bytes:
        configuration, n = self.configuration, self.n
        if learns and (why := refused(self.state)) is not None:
            raise CannotStep(why)
        read = reader(n, configuration)
        inputs = read("rows")
        alone = len(configuration.networks) == 1
        passes = []
        for network in configuration.networks:
            named = ("" if alone else f"{network.name}.").__add__
            said = "probabilities" if alone else ""
            passes.append(passed(n, network, named, inputs[network.population_code], said))
        if alone:
            n.op("Unsqueeze", "probabilities", n.i([0]), name="members")
        else:
            said = n.op("Concat", *(p.said for p in passes), axis=0)
            shape = n.i([len(passes), -1, configuration.classes])
            n.op("Reshape", said, shape, name="members")
            evidence = self._mixed()
        if not learns:
            return self._model(learns=False)
        target = self._target("labels")
        if not alone:
            self._mixture(target, evidence)
        for network, seen in zip(configuration.networks, passes, strict=True):
            learner = Learner(
                n, configuration, network, "" if alone else f"{network.name}.", self.named
            )
            learner.stepped(self._error(target, seen.said), seen)
            if network.rehearsed:
                again = rehearsed(n, configuration, network.rehearsed)
                x = read(again.rows)[network.population_code]
                learner.rehearse(again, x, self._target(again.labels))
            self.after |= learner.after
        if configuration.rehearses:
            self.after |= kept(n, configuration)
        self.after |= learned(n, alone=configuration.rows_per_step == 1)
        # What a step gives is computed under that name: an Identity would copy it.
        n.renamed({value: f"next.{name}" for name, value in self.after.items()})
        return self._model()

    # Parts

    def _target(self, labels: str) -> str:
        n, classes = self.n, self.configuration.classes
        # Of doubles onnxruntime has no OneHot.
        values = n.constant([0.0, 1.0], np.float32)
        target = n.op("OneHot", labels, n.i(classes), values, axis=1)
        if n.float is np.float64:
            target = n.typed(target)
        smooth = self.configuration.label_smoothing
        if smooth:
            target = n.op("Add", n.op("Mul", target, n.c(1 - smooth)), n.c(smooth / classes))
        return target

    def _error(self, target: str, y: str) -> str:
        n = self.n
        error = n.op("Sub", target, y)
        if not self.configuration.class_weights:
            return error
        weights = n.op("Gather", n.c(self.configuration.class_weights), "labels")
        return n.op("Mul", error, n.unsqueezed(weights, 1))

    def _mixed(self) -> str:
        n = self.n
        evidence = n.op("Log", n.op("Max", "members", n.c(LEAST)))
        weights = n.op("Reshape", "mixture", n.i([-1, 1, 1]))
        summed = n.total(n.op("Mul", weights, evidence), [0])
        n.op("Softmax", summed, name="probabilities", axis=1)
        return evidence

    def _mixture(self, target: str, evidence: str) -> None:
        n = self.n
        error = n.op("Sub", target, "probabilities")
        over = n.total(n.op("Mul", evidence, error), [2])
        change = n.op("ReduceMean", over, n.i([1]), keepdims=0)
        moved = n.op("Add", "mixture", n.op("Mul", change, n.c(RATE)))
        self.after["mixture"] = n.op("Max", moved, n.c(0.0))

    def _model(self, learns: bool = True) -> bytes:
        info = helper.make_tensor_value_info
        sensors, classes = len(self.configuration.ranges), self.configuration.classes
        inputs = [
            info("rows", self.n.type, ["rows", sensors]),
            info("labels", TensorProto.INT64, ["rows"]),
            info("step_size", TensorProto.DOUBLE, []),
            info("steps", TensorProto.INT64, []),
        ]
        outputs = [
            info("probabilities", self.n.type, ["rows", classes]),
            info("members", self.n.type, [len(self.configuration.networks), "rows", classes]),
        ]
        if not learns:
            del inputs[1:]
        read = {name for node in self.n.nodes for name in node.input}
        for name, array in self.named.items():
            if not learns and name not in read:
                continue
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            inputs.append(info(name, kind, array.shape))
            if name in self.after:
                outputs.append(info(f"next.{name}", kind, array.shape))
        return self.n.serialised("local_learning_step", inputs, outputs)
