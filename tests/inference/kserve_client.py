"""KServe's own client, as it is, in an environment of its own: `make test-kserve`."""

from __future__ import annotations

import json
import subprocess

import pytest

import benchmarks.peers
from benchmarks.peers.environment import python
from model_store.snapshots.store import SnapshotStore
from service.access import keys
from service.access.keyring import Keyring
from service.api.app import create_app
from service.metrics.declared import Metrics
from service.replica.replica import Replica
from tests.line import wait_for
from tests.serving import IMMEDIATE, listening, press, serving

SCRIPT = f"{benchmarks.peers.__path__[0]}/kserve_client.py"


def asked(url: str, key: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(python("kserve")), SCRIPT, url, *([key] if key else [])]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("with_keys", [False, True])
@pytest.mark.timeout(1200)
def test_it_predicts_teaches_gives_feedback_and_reads_errors(tmp_path, with_keys):
    path = tmp_path / "keys.json"
    _, secret = keys.add(path, "kserve", "line")
    ring, key = (Keyring(path), secret) if with_keys else (None, "")
    with serving(press(tmp_path, model=IMMEDIATE), keyring=ring, key=key or None) as running:
        done = asked(running.url, key)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["live"] is said["ready"] is said["model_ready"] is True
        for form in ("json", "binary"):
            assert said[form]["predicted"]["prediction"][0][0] in ("ok", "worn")
            assert said[form]["feedback"]["learned"] == [[True], [True]]
            assert said[form]["taught"]["outcome"] == [["learned"], ["learned"]]
        assert "rows: expected shape [rows, 2]" in said["error"]
        assert running.learner.models["press"].published.seq == 4
        if with_keys:
            assert asked(running.url).returncode == 1
        replica = Replica(SnapshotStore.open(tmp_path / "store"), (), Metrics(), poll_s=0.02)
        with listening(create_app(replica, keyring=ring)) as url:
            wait_for(lambda: replica.not_ready is None)
            refused = asked(url, key)
            assert "a replica does not learn" in refused.stderr
