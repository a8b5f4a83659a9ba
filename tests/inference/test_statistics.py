"""The statistics extension, read by Triton's own client."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from clients import Rejected
from model_store.snapshots.store import SnapshotStore
from service.api.app import create_app
from service.metrics.declared import Metrics
from service.replica.replica import Replica
from tests.line import teach, wait_for
from tests.serving import listening, press, row, serving


def asked(url, model="", version=""):
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        return client.get_inference_statistics(model, version)["model_stats"]


def test_what_was_asked_is_counted_and_its_time_split(tmp_path):
    with serving(press(tmp_path)) as running:
        (before,) = asked(running.url)
        assert before["inference_count"] == before["last_inference"] == 0
        teach(running, 0, 5)
        with triton.InferenceServerClient(running.url.removeprefix("http://")) as client:
            rows = triton.InferInput("rows", [3, 2], "FP32")
            rows.set_data_from_numpy(np.zeros((3, 2), np.float32))
            for _ in range(4):
                client.infer("press", [rows])
        for _ in range(2):
            with pytest.raises(Rejected):
                running.client.predict("press", [{"pressure": 1.0}])

        def found():
            (said,) = asked(running.url, "press", "live")
            return said

        # The encoding is counted once the reply is away.
        wait_for(lambda: found()["inference_stats"]["compute_output"]["count"] == 9)
        said = found()
        assert (said["name"], said["version"]) == ("press", "live")
        assert said["inference_count"] == 5 + 4 * 3
        assert said["execution_count"] == 9
        assert said["last_inference"] > 1.7e12
        stats = said["inference_stats"]
        assert {n: s["count"] for n, s in stats.items()} == {
            "success": 9, "fail": 2, "queue": 5, "compute_input": 9, "compute_infer": 9,
            "compute_output": 9, "cache_hit": 0, "cache_miss": 0,
        }  # fmt: skip
        parts = sum(s["ns"] for n, s in stats.items() if n not in ("success", "fail"))
        # The commit is in the whole alone.
        assert 0 < parts < stats["success"]["ns"]
        server = httpx.get(f"{running.url}/v2/").json()
        assert "statistics" in server["extensions"]
        assert httpx.get(f"{running.url}/v2/models/other/stats").status_code == 404
        assert httpx.get(f"{running.url}/v2/models/press/versions/7/stats").status_code == 404


def test_a_replica_counts_too_and_leaves_out_what_it_waits_for(tmp_path):
    SnapshotStore.open(tmp_path / "store", write=True).close()
    metrics, store = Metrics(), SnapshotStore.open(tmp_path / "store")
    replica = Replica(store, ["press"], metrics, poll_s=0.02)
    with listening(create_app(replica)) as url:
        assert asked(url) == []
        with serving(press(tmp_path)) as running:
            teach(running, 0, 3)
            running.client.snapshot("press")
        wait_for(lambda: replica.not_ready is None)
        body = {"rows": [row(1)] * 2}
        assert httpx.post(f"{url}/v1/models/press/batches", json=body).is_success
        (said,) = asked(url, "press")
        assert (said["inference_count"], said["execution_count"]) == (2, 1)
        assert said["version"] == replica.versions("press")[0]
