"""A stock onnxruntime goes on from a snapshot as the learner did."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from clients.device import Device
from service.history.lessons import Lesson
from service.state import arrays
from tests.line import teach
from tests.serving import IMMEDIATE, press, serving

FOLDER = "store/models/press/snapshots/{:08d}"


REHEARSING = 'members = ["rehearsal", "sgd"]\nreservoir = 32\n'


@pytest.mark.parametrize("recipe", ["", REHEARSING])
@pytest.mark.parametrize("kernel", ["onnx", "torch"])
def test_it_repeats_what_a_learner_did(tmp_path, kernel, recipe):
    with serving(press(tmp_path, model=f'{IMMEDIATE}{recipe}kernel = "{kernel}"')) as running:
        teach(running, 0, 20)
        version = running.client.snapshot("press").version
        teach(running, 20, 60)
        device = Device(tmp_path / FOLDER.format(version))
        assert (device.seq, device.steps, device.sensors) == (20, 20, ["temp", "flow"])
        for record in running.learner.events.events("press", after=device.seq):
            lesson = Lesson.from_bytes(record.payload)
            said = device.learn(lesson.rows, lesson.labels)
            assert said.shape == (len(lesson.rows), 2)
        live = running.learner.models["press"].published
        assert (device.seq, device.steps) == (live.seq, live.steps)
        for name, tensor in arrays(live).items():
            if kernel == "onnx":
                assert np.array_equal(device.tensors[name], tensor), name
            else:
                np.testing.assert_allclose(device.tensors[name], tensor, atol=1e-3)


def test_rows_without_a_label_and_a_frozen_device_learn_nothing(tmp_path):
    with serving(press(tmp_path, model=IMMEDIATE)) as running:
        teach(running, 0, 5)
        device = Device(tmp_path / FOLDER.format(running.client.snapshot("press").version))
    before, rows = device.tensors, np.float32([[50, 6], [90, np.nan]])
    first = device.learn(rows, np.array([-1, -1]))
    assert device.tensors is before
    device.frozen = True
    assert np.array_equal(device.learn(rows, np.array([0, 1])), first)
    assert device.tensors is before


SEVERAL = 'members = ["plain"]\noptimiser = "gain"\nrows_per_step = 4\n'
"""Rows in one step under a gain, which the graph does not do."""


def test_a_snapshot_that_the_graph_cannot_continue_has_none(tmp_path):
    with serving(press(tmp_path, model=IMMEDIATE + SEVERAL)) as running:
        teach(running, 0, 3)
        version = running.client.snapshot("press").version
        with pytest.raises(FileNotFoundError, match=r"expected step\.onnx"):
            Device(tmp_path / FOLDER.format(version))


def test_it_imports_nothing_of_the_service():
    tree = ast.parse((Path(__file__).parent.parent.parent / "clients/device.py").read_text())
    names = {
        node.module if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert names == {
        "__future__",
        "json",
        "sys",
        "collections",
        "pathlib",
        "typing",
        "numpy",
        "onnxruntime",
        "numpy.typing",
        "safetensors.numpy",
    }
