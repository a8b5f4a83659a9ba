"""The step graph of a snapshot: proved before it is published, and verified where it lies."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest

from model_store.snapshots.store import SnapshotStore
from service.graph import update
from service.graph.step import FORMAT, step_graph
from service.manifest import STEP
from service.publishing import taking
from service.publishing.proof import ParityBroken, step_proved
from service.state import Configuration, plain
from service.state.network import members
from tests.kernel import KERNEL
from tests.line import teach
from tests.serving import press, serving

ENSEMBLE = Configuration(((-2.0, 2.0),) * 3, 2, members(("gain", "sgd", "linear"), (4,), 0))
ROWS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def test_the_manifest_says_what_goes_in_and_out_and_how_well_it_was_proved(tmp_path):
    with serving(press(tmp_path)) as running:
        teach(running.client, 0, 5)
        version = running.client.snapshot("press").version
        said = running.client.manifest("press", version)["step"]
        verified = running.client.ask("press", "verify")
    store = SnapshotStore.open(tmp_path / "store")
    model = onnx.load_from_string(store.read("press", version, STEP))
    assert said["inputs"] == [each.name for each in model.graph.input]
    assert said["outputs"] == [each.name for each in model.graph.output]
    assert said["format"] == FORMAT
    assert said["parity"]["max_abs_diff"] <= said["parity"]["tolerance"] == 1e-5
    assert said["parity"]["max_relative_diff_of_tensors"] < 1e-5
    assert verified["problems"] == []


@pytest.mark.parametrize(
    "configuration",
    [
        ENSEMBLE,
        plain(((-2.0, 2.0),) * 3, 2, (4,), optimiser="adam"),
        plain(((-2.0, 2.0),) * 3, 2, (4,), feedback_rule="hebbian"),
        Configuration(((-2.0, 2.0),) * 3, 2, members(("rehearsal",), (4,), 0)),
    ],
)
def test_a_step_that_learns_otherwise_is_not_published(configuration, monkeypatch):
    state = KERNEL.initial(configuration)
    step_proved(KERNEL, state, step_graph(state), ROWS)
    real = update.Learner.stepped

    def forgetful(self, *seen):
        """Updates of the first layer come to nothing."""
        real(self, *seen)
        name = f"{self._prefix}weight.1"
        self.after[name] = self.n.op("Mul", name, self.n.c(0.5))

    monkeypatch.setattr(update.Learner, "stepped", forgetful)
    fresh = type(KERNEL)()
    with pytest.raises(ParityBroken, match=r"step at seq 0: expected graph and torch to agree"):
        step_proved(fresh, state, step_graph(state), ROWS)


def test_verify_names_a_step_that_is_not_its_configurations(tmp_path, monkeypatch):
    other = step_graph(KERNEL.initial(ENSEMBLE))
    with serving(press(tmp_path)) as running:
        teach(running.client, 0, 2)
        monkeypatch.setattr(taking, "step_graph", lambda state: other)
        version = running.client.snapshot("press").version
        monkeypatch.undo()
        problems = running.client.ask("press", "verify")["problems"]
    assert [problem["path"] for problem in problems] == [f"snapshot {version}: {STEP}"]


def test_other_bytes_have_another_format():
    """Where this fails because the graph was changed, FORMAT needs the next number."""
    digest = hashlib.sha256(step_graph(KERNEL.initial(ENSEMBLE))).hexdigest()[:16]
    assert (FORMAT, digest) == (5, "00006537db1cc7bf")
