"""A log and a store that commit 6ef8b03 wrote: bytes on disk keep their meaning."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from service.config.file import parse
from service.kernels.torch import TorchKernel
from service.state import arrays, same
from service.state.file import from_bytes
from tests.serving import serving

WRITTEN = Path(__file__).parent.parent / "fixtures" / "written_by_6ef8b03.tar.gz"
"""41 batches in the order of a line's day: late labels, a freeze, a rollback, promotes, a rebase,
and 12 lessons behind the newest snapshot; `expected.safetensors` is the state after the last."""


@pytest.fixture
def written(tmp_path, monkeypatch):
    with tarfile.open(WRITTEN) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_old_log_and_store_are_recovered_from(written):
    expected = from_bytes((written / "expected.safetensors").read_bytes())
    with serving(parse((written / "apical.toml").read_text())) as running:
        state = running.learner.models["press"].published
        then = running.client.manifest("press", 6)["software"]
        assert (state.seq, state.steps, state.frozen) == (71, 29, False)
        if then == TorchKernel().software():
            assert same(state, expected)
        for name, tensor in arrays(state).items():
            assert abs(tensor - arrays(expected)[name]).max() < 1e-5, name
        # What its idempotency remembers, its trail and every stored byte are read too.
        assert running.client.ask("press", "verify")["problems"] == []
        audit = running.client.ask("press", "audit")["entries"]
        assert [entry["verb"] for entry in audit][-3:] == ["promote", "rebase_begin", "rebase"]


@pytest.mark.parametrize("version", [2, 3])
def test_every_stretch_of_an_old_log_replays_to_the_snapshot_after_it(written, version):
    from click.testing import CliRunner

    from service.cli import main

    done = CliRunner().invoke(main, ["replay", "--compare", str(version)])
    assert done.exit_code == 0, done.output
    assert f"state of snapshot {version}" in done.output
