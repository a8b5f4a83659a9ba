"""The rule in onnxruntime, from graphs of our own; what a graph cannot do, torch does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.graph.step import predict_graph, refused, step_graph
from service.kernels.banks import Banks, Said
from service.kernels.kernel import Kernel
from service.rows import UNKNOWN, Labels, Probabilities, Rows
from service.state import (
    Configuration,
    Diagnosis,
    Event,
    Labelled,
    Reply,
    State,
    arrays,
    leaves,
    ordered,
    with_leaves,
)
from service.state.memory import aligned

MOST_GRAPHS = 256
"""Configurations of which sessions are kept, and the banks of a thread."""

MOST_KNOWN = 4096
"""Configurations by identity: each state that is read from a file brings its own."""


class Graphs(NamedTuple):
    """Both sessions of one configuration, the names of its state's tensors in the order of
    `leaves`, which of them a step moves, and which a prediction reads."""

    predict: onnxruntime.InferenceSession
    step: onnxruntime.InferenceSession
    names: tuple[str, ...]
    moves: tuple[int, ...]
    reads: tuple[int, ...]


class OnnxKernel:
    """`service.graph.step`, one thread.

    Parameters
    ----------
    beyond
        Has newborn learners, diagnoses, and several rows a step under a gain or rehearsal:
        `TorchKernel`, or `WithoutTorch`, which refuses them.
    """

    def __init__(self, beyond: Kernel) -> None:
        self._beyond = beyond
        self._graphs = lru_cache(maxsize=MOST_GRAPHS)(_graphs)
        self._local = threading.local()
        # By identity, which states of one learner share: a hash of all that it says takes longer
        # than a small step. It holds what it knows, so no identity comes to mean another.
        self._known: dict[int, tuple[Configuration, Graphs | None]] = {}

    @property
    def proved_by(self) -> str:
        return self._beyond.proved_by

    def check(self, state: State) -> None:
        if self._of(state) is None:
            self._beyond.check(state)

    def initial(self, configuration: Configuration) -> State:
        return self._beyond.initial(configuration)

    def diagnose(self, state: State, event: Labelled) -> tuple[Diagnosis, ...]:
        return self._beyond.diagnose(state, event)

    def forward(self, state: State, rows: Rows) -> Probabilities:
        graphs = self._of(state)
        if graphs is None:
            return self._beyond.forward(state, rows)
        return self._said(graphs, leaves(state), rows)[0]

    def apply(
        self, state: State, event: Event, between: Callable[[], None] = lambda: None
    ) -> tuple[State, Reply | None]:
        if not isinstance(event, Labelled):
            return ordered(state, event), None
        graphs = self._of(state)
        if graphs is None:
            return self._beyond.apply(state, event, between)
        known = event.labels != UNKNOWN
        count = int(np.count_nonzero(known))
        seq, tensors = state.seq + 1, leaves(state)
        per = state.configuration.rows_per_step
        if state.frozen or not count:
            said, members = self._said(graphs, tensors, event.rows)
            return state._replace(seq=seq), Reply(said, np.zeros_like(known), members)
        rows, labels = event.rows, event.labels
        if count < len(known):
            rows, labels = rows[known], labels[known]
        per = per or count
        whole = None
        # One step of all rows gives the reply with it.
        if len(known) > per or count < len(known):
            whole = self._said(graphs, tensors, event.rows)
        first, tensors = self._learned(graphs, state, tensors, rows, labels, per, between)
        learned = with_leaves(state, tensors, seq, state.steps + -(-count // per))
        said, members = whole or first
        return learned, Reply(said, known, members)

    def _learned(
        self,
        graphs: Graphs,
        state: State,
        tensors: list[NDArray[Any]],
        rows: Rows,
        labels: Labels,
        per: int,
        between: Callable[[], None],
    ) -> tuple[Said, list[NDArray[Any]]]:
        """What the first step said, and the tensors after the last."""
        banks, before = self._banks_of(graphs), state.steps
        said, tensors, done = banks.walk(
            tensors, rows, labels, per, state.step_size, before, between
        )
        for first in range(done, len(labels), per):
            if first:
                between()
            part = slice(first, first + per)
            lesson = rows[part], labels[part], state.step_size, before + first // per + 1
            found, tensors = _by_copies(graphs, tensors, *lesson)
            said = said or found
        assert said is not None
        return said, tensors

    def _banks_of(self, graphs: Graphs) -> Banks:
        """This thread's: others may learn with the same graph at the same time."""
        if not hasattr(self._local, "banks"):
            self._local.banks = {}
        kept: dict[int, tuple[Graphs, Banks]] = self._local.banks
        found = kept.get(id(graphs))
        if found is None:
            if len(kept) >= MOST_GRAPHS:
                kept.clear()
            found = kept[id(graphs)] = graphs, Banks(graphs.step, graphs.names, graphs.moves)
        return found[1]

    def software(self) -> dict[str, Any]:
        return self._beyond.software()

    def _of(self, state: State) -> Graphs | None:
        configuration = state.configuration
        known = self._known.get(id(configuration))
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[id(configuration)] = configuration, self._found(state)
        return known[1]

    def _found(self, state: State) -> Graphs | None:
        if refused(state) is not None:
            return None
        found: Graphs = self._graphs(_Key(state.configuration, state))
        return found

    def _said(self, graphs: Graphs, tensors: list[NDArray[Any]], rows: Rows) -> Said:
        given = {graphs.names[at]: tensors[at] for at in graphs.reads}
        probabilities, members = graphs.predict.run(None, {"rows": aligned(rows), **given})
        return probabilities, members


class _Key:
    """A configuration with a state of its shapes; equal where the configuration is."""

    def __init__(self, configuration: Configuration, state: State) -> None:
        self.configuration, self.state = configuration, state

    def __hash__(self) -> int:
        return hash(self.configuration)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.configuration == self.configuration


def _by_copies(
    graphs: Graphs,
    tensors: list[NDArray[Any]],
    rows: Rows,
    labels: Labels,
    step_size: float,
    steps: int,
) -> tuple[Said, list[NDArray[Any]]]:
    """A step into new memory; the same to the bit."""
    given = {
        **dict(zip(graphs.names, tensors, strict=True)),
        # Kernels may round differently where rows lie elsewhere in memory.
        "rows": aligned(rows),
        "labels": aligned(labels),
        "step_size": np.array(step_size),
        "steps": np.array(steps),
    }
    probabilities, members, *moved = graphs.step.run(None, given)
    after = list(tensors)
    for at, tensor in zip(graphs.moves, moved, strict=True):
        after[at] = tensor
    return (probabilities, members), after


def _graphs(key: _Key) -> Graphs:
    step = _session(step_graph(key.state))
    predict = _session(predict_graph(key.state))
    names = tuple(arrays(key.state))
    given = [output.name.removeprefix("next.") for output in step.get_outputs()[2:]]
    read = {i.name for i in predict.get_inputs()}
    moves, reads = (
        tuple(at for at, name in enumerate(names) if name in among) for among in (given, read)
    )
    # What the graph gives of them is in the same order.
    assert given == [names[at] for at in moves]
    return Graphs(predict, step, names, moves, reads)


def _session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
