"""A learner where torch is not installed: a process of its own, in which importing it fails."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
import torch

from clients import Client
from service.history.replay import replay
from service.hosting.process import ServerProcess
from service.kernels import edge
from service.publishing.taking import load_state
from service.state import same
from tests.clients.test_device import SEVERAL
from tests.kernel import KERNEL
from tests.line import teach, wait_for
from tests.serving import IMMEDIATE, PRESS, press, serving

MISSING = """
import sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")


sys.meta_path.insert(0, Missing())
"""


@pytest.fixture
def without_torch(tmp_path):
    """The environment of a process that cannot import torch."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(MISSING)
    environment = {"PYTHONPATH": str(folder)}
    said = subprocess.run(
        [sys.executable, "-c", "import torch"], env=environment, capture_output=True, text=True
    )
    assert "No module named 'torch'" in said.stderr
    return environment


@contextlib.contextmanager
def started(folder, environment, model=IMMEDIATE):
    config = folder / "apical.toml"
    config.write_text(
        PRESS.format(
            store=repr(str(folder / "store")), log=repr(str(folder / "log")), top="", model=model
        )
    )
    arguments = ["serve", "--config", str(config)]
    with ServerProcess(arguments, folder / "stderr", environment) as server:
        server.wait_ready()
        with Client(server.url) as client:
            yield client


def test_it_goes_on_from_a_snapshot_and_learns_to_the_bit_what_torch_s_learner_would(
    tmp_path, without_torch
):
    configuration = press(tmp_path, model=IMMEDIATE)
    with serving(configuration) as running:
        teach(running, 0, 20)
        running.client.snapshot("press")
        teach(running, 20, 10)
    with started(tmp_path, without_torch) as client:
        teach(client, 30, 20)
        made = client.snapshot("press")
        manifest = client.ask("press", f"snapshots/{made.version}")
        assert manifest["proved_by"] == "graphs"
        assert manifest["parity"]["max_abs_diff"] <= 1e-5
        assert manifest["step"]["parity"]["max_abs_diff"] <= 1e-5
        assert "torch" not in manifest["software"]
        client.rollback("press", made.version, reason="back")
        teach(client, 50, 5)
    with serving(configuration) as running:
        live = running.learner.models["press"].published
        assert live.seq == 56
        # The whole log once more, by the learner that has torch.
        store = running.learner.store

        def load(model, version):
            return load_state(store, model, version)

        born = load("press", 1)
        events = running.learner.events.events("press", after=born.seq)
        assert same(replay(KERNEL, born, events, load), live)
        teach(running, 55, 1)
        made = running.client.snapshot("press")
        assert running.client.ask("press", f"snapshots/{made.version}")["proved_by"] == "torch"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (IMMEDIATE, "there is no snapshot yet, and torch, which draws newborn networks"),
        (IMMEDIATE + 'kernel = "torch"', "the state names the kernel 'torch'"),
        (IMMEDIATE + SEVERAL, "a recipe that the step graph does not cover"),
    ],
)
def test_what_needs_torch_is_refused_at_start_with_what_would_help(
    tmp_path, without_torch, model, said
):
    if model != IMMEDIATE:
        with serving(press(tmp_path, model=model)) as running:
            teach(running, 0, 5)
    with (
        pytest.raises(RuntimeError, match="ended with status") as refused,
        started(tmp_path, without_torch, model) as client,
    ):
        wait_for(client.ready, 5)
    message = " ".join(str(refused.value).split())
    assert said in message
    assert "apical[learner]" in message
    assert "Traceback" not in message


def test_the_instructions_that_arithmetic_is_chosen_by_are_told_as_torch_tells_them():
    assert edge.cpu_level() == torch.backends.cpu.get_cpu_capability()
