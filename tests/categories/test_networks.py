"""Values are one-hot inputs, alike in torch, in both graphs and in a learner without torch."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from service.dll.network import Ensemble, encode, read
from service.graph.check import GraphRefused, check_graph
from service.graph.forward import to_onnx
from service.graph.session import Session
from service.graph.step import step_graph
from service.kernels.edge import WithoutTorch
from service.kernels.onnx import OnnxKernel
from service.publishing.proof import step_proved
from service.schema import Schema, Sensor
from service.state import Configuration, Labelled, arrays, same
from service.state.configuration import to_json
from service.state.file import from_bytes, to_bytes
from service.state.network import members
from tests.kernel import KERNEL

RANGES = ((-1.0, 1.0), (0.0, 2.0), (0.0, 5.0), (0.0, 1.0))
ALIKE = 1e-4
MIXED = (0, 3, 0, 2)


def configuration(values=MIXED, names=("gain", "sgd", "linear"), **more):
    ranges = tuple((0.0, v - 1.0) if v else r for v, r in zip(values, RANGES, strict=False))
    return Configuration(ranges, 2, members(names, (5,), 0), values=values, **more)


def lesson(values, count, seed):
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, v, count) if v else rng.normal(size=count) for v in values]
    rows = np.stack(rows, 1).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    return Labelled(rows, rng.integers(-1, 2, count))


def taught(state, count=40):
    for seed in range(count):
        state, _ = KERNEL.apply(state, lesson(state.configuration.values, 3, seed))
    return state


def schema_for(values):
    sensors = [
        Sensor(f"s{at}", "", 0.0, max(v - 1.0, 1.0), values=tuple("abcdefgh"[:v]))
        for at, v in enumerate(values)
    ]
    return Schema(sensors, ["no", "yes"])


def test_a_value_is_a_one_among_zeros_and_a_missing_one_all_zeros():
    state = KERNEL.initial(configuration())
    rows = torch.tensor([[0.5, 2.0, 1.0, 0.0], [0.5, torch.nan, 1.0, 1.0]])
    hot, z = read(state.configuration, rows, Ensemble.of(state).moments)
    assert hot.tolist() == [[0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]
    assert z.shape == (2, 2)
    gain, _, linear = state.configuration.networks
    assert encode(linear, hot, z).shape == (2, 5 + 2)
    assert encode(gain, hot, z).shape == (2, 5 + 2 * 6)
    assert [m.synapses.weights[0].shape[1] for m in state.members] == [17, 17, 7]


@pytest.mark.parametrize("values", [MIXED, (3,), (0, 8), (2, 3)], ids=str)
@pytest.mark.parametrize("names", [("gain", "sgd", "linear"), ("linear",), ("rehearsal",)], ids=str)
def test_torch_the_step_and_the_prediction_agree(values, names):
    born = KERNEL.initial(configuration(values, names))
    by_torch = taught(born._replace(kernel="torch"))
    by_graph = taught(born._replace(kernel="onnx"))
    theirs = arrays(by_torch)
    apart = {n: float(np.abs(a - theirs[n]).max()) for n, a in arrays(by_graph).items() if a.size}
    apart.pop("reservoir.rows", None)
    assert max(apart.values()) < ALIKE
    graph = to_onnx(by_torch)
    check_graph(graph, schema_for(values))
    rows = lesson(values, 60, 99).rows
    said = Session(graph).probabilities(rows)
    assert np.abs(said - KERNEL.forward(by_torch, rows)).max() < 1e-5
    # The other value is another answer: nothing is read as the same.
    other = rows.copy()
    at = next(at for at, v in enumerate(values) if v)
    other[:, at] = (np.nan_to_num(rows[:, at]) + 1) % values[at]
    assert np.abs(Session(graph).probabilities(other) - said).max() > 0.01
    if "rehearsal" not in names:
        step_proved(KERNEL, by_graph, step_graph(by_graph), rows)


def test_a_learner_without_torch_steps_by_the_graphs_that_vouch_for_each_other():
    edge = OnnxKernel(WithoutTorch())
    state = KERNEL.initial(configuration())._replace(kernel="onnx")
    expected = taught(state)
    for seed in range(40):
        state, _ = edge.apply(state, lesson(MIXED, 3, seed))
    assert same(state, expected)
    proof = step_proved(edge, state, step_graph(state), lesson(MIXED, 9, 1).rows)
    assert proof["parity"]["max_abs_diff"] < 1e-5


def test_beyond_the_widest_gain_values_share_its_block_with_the_constant():
    networks = tuple(
        type(n)(**{**{f: getattr(n, f) for f in n.__slots__}, "dense_inputs": 10})
        for n in members(("gain",), (4,), 0)
    )
    born = KERNEL.initial(Configuration(RANGES, 2, networks, values=MIXED))
    shapes = [[block.shape for block in layer] for layer in born.members[0].gains]
    assert shapes == [[(2, 6, 6), (6, 6)], [(2, 6, 6), (10, 10)]]
    learned = taught(born._replace(kernel="torch"))
    assert not same(learned, born)
    rows = lesson(MIXED, 40, 5).rows
    assert (
        np.abs(Session(to_onnx(learned)).probabilities(rows) - KERNEL.forward(learned, rows)).max()
        < 1e-5
    )


def test_a_state_is_read_back_and_a_configuration_without_values_names_none():
    state = taught(KERNEL.initial(configuration()), 3)
    assert same(from_bytes(to_bytes(state)), state)
    assert to_json(state.configuration)["values"] == MIXED
    assert "values" not in to_json(Configuration(RANGES, 2))
    assert b'"values"' not in to_bytes(KERNEL.initial(Configuration(RANGES, 2)))


def test_in_double_precision_too():
    state = KERNEL.initial(configuration(dtype="float64"))
    assert state.members[0].synapses.weights[0].dtype == np.float64
    found = lesson(MIXED, 4, 0)
    doubles = Labelled(found.rows.astype(np.float64), found.labels)
    a, _ = KERNEL.apply(state._replace(kernel="torch"), doubles)
    b, _ = KERNEL.apply(state._replace(kernel="onnx"), doubles)
    ours = arrays(b)
    assert max(float(np.abs(x - ours[n]).max()) for n, x in arrays(a).items() if x.size) < 1e-12


@pytest.mark.parametrize(
    ("column", "match"),
    [(4, "Gather.*shapes that we export"), (-1, "columns from 0"), (2**40, "columns from 0")],
)
def test_a_graph_that_gathers_from_elsewhere_is_refused(column, match):
    model = onnx.load_from_string(to_onnx(KERNEL.initial(configuration())))
    tensor = next(t for t in model.graph.initializer if t.name == "columns")
    changed = numpy_helper.to_array(tensor).copy()
    changed[0] = column
    tensor.CopyFrom(numpy_helper.from_array(changed, "columns"))
    with pytest.raises(GraphRefused, match=match):
        check_graph(model.SerializeToString(), schema_for(MIXED))
