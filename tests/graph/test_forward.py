"""The exported graph, run by onnxruntime and held against torch and torch's own exporter."""

from __future__ import annotations

import io

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from service.dll import forward
from service.dll.network import Ensemble, activate
from service.dll.standardise import scale
from service.graph.check import check_graph
from service.graph.forward import to_onnx
from service.graph.session import Session
from service.schema import Schema, Sensor
from service.state import Configuration, plain
from service.state.moments import CLIP
from service.state.network import members
from tests.dll.networks import taught

SHAPES = [(), (8,), (16, 8), (5, 4, 3, 2)]


def network(hidden: tuple[int, ...], offset: float = 0.0) -> Configuration:
    return plain(ranges=((offset - 2.0, offset + 2.0),) * 6, classes=3, hidden=hidden)


@pytest.mark.parametrize("hidden", SHAPES)
@pytest.mark.parametrize("batch", [1, 7, 64])
def test_onnxruntime_answers_raw_readings_as_torch_does(hidden, batch):
    state = taught(network(hidden), steps=20)
    rows = torch.randn(batch, 6).numpy() * 3
    rows[0, 2] = np.nan
    out = Session(to_onnx(state)).probabilities(rows)
    np.testing.assert_allclose(out, forward(state, rows), rtol=0, atol=1e-5)


ENSEMBLES = [("gain",), ("sgd", "linear"), ("gain", "sgd", "linear", "rehearsal")]


@pytest.mark.parametrize("names", ENSEMBLES)
@pytest.mark.parametrize("hidden", [(8,), (16, 8)])
@pytest.mark.parametrize("batch", [1, 64])
def test_an_ensembles_graph_is_its_mixture_and_passes_the_replicas_check(names, hidden, batch):
    ranges = ((-2.0, 2.0),) * 6
    state = taught(Configuration(ranges, 3, members(names, hidden, 5)), steps=20)
    rows = torch.randn(batch, 6).numpy() * 3
    rows[0, 2] = np.nan
    graph = to_onnx(state)
    sensors = [Sensor(f"s{index}", "", *bounds) for index, bounds in enumerate(ranges)]
    check_graph(graph, Schema(sensors, ["a", "b", "c"]))
    out = Session(graph).probabilities(rows)
    np.testing.assert_allclose(out, forward(state, rows), rtol=0, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_every_activation_is_exported(activation):
    configuration = plain(((-2.0, 2.0),) * 3, 2, (8, 5), activation=activation, skip=True)
    state = taught(configuration, steps=20)
    rows = torch.randn(9, 3).numpy()
    out = Session(to_onnx(state)).probabilities(rows)
    np.testing.assert_allclose(out, forward(state, rows), rtol=0, atol=1e-5)


def test_large_readings_keep_their_digits():
    rng = np.random.default_rng(0)
    from service.dll import apply, initial
    from service.state import Labelled

    state = initial(network((8,), offset=1e6))
    for _ in range(50):
        rows = rng.normal(1e6, 1.0, (8, 6)).astype(np.float32)
        state, _ = apply(state, Labelled(rows, rng.integers(3, size=8)))
    rows = rng.normal(1e6, 1.0, (64, 6)).astype(np.float32)
    out = Session(to_onnx(state)).probabilities(rows)
    np.testing.assert_allclose(out, forward(state, rows), rtol=0, atol=1e-5)


def test_graph_is_opset_20_ir_10_with_standardisation_as_nodes_of_its_own():
    model = onnx.load_from_string(to_onnx(taught(network((8,)))))
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 10
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 20)]
    assert [n.op_type for n in model.graph.node][:5] == ["IsNaN", "Sub", "Div", "Clip", "Where"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


class _Module(torch.nn.Module):
    def __init__(self, state):
        super().__init__()
        ensemble = Ensemble.of(state)
        self.network, self.synapses = state.configuration.networks[0], ensemble.members[0].synapses
        self.scale = scale(ensemble.moments, state.configuration.ranges, torch.float32)

    def forward(self, readings):
        z = torch.clamp((readings - self.scale.mean) / self.scale.deviation, -CLIP, CLIP)
        x = torch.where(torch.isnan(readings), torch.zeros_like(z), z)
        return torch.softmax(activate(self.network, self.synapses, x).potentials[-1], dim=1)


def test_our_graph_agrees_with_torchs_own_exporter():
    state = taught(network((8, 4)), steps=20)
    rows = torch.randn(16, 6)
    rows[3, 1] = torch.nan
    buffer = io.BytesIO()
    torch.onnx.export(
        _Module(state).eval(),
        (torch.randn(4, 6),),
        buffer,
        input_names=["readings"],
        output_names=["probabilities"],
        dynamo=True,
        external_data=False,
        verbose=False,
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        opset_version=20,
    )
    theirs = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    (expected,) = theirs.run(None, {"readings": rows.numpy()})
    ours = Session(to_onnx(state)).probabilities(rows.numpy())
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)
