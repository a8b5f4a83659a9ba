"""A reply says which readings the model did not see as they were sent."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from model_store.snapshots.store import SnapshotStore
from service.api.app import create_app
from service.metrics.declared import Metrics
from service.replica.replica import Replica
from tests.line import wait_for
from tests.serving import listening, press, row, serving

ROWS = [{"temp": 70.0, "flow": 2.0}, {"temp": None, "flow": 99.0}, {"flow": -1.0}]
FOUND = {"missing": {"temp": 2}, "out_of_range": {"flow": 2}}


@pytest.fixture(scope="module")
def urls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replaced")
    with serving(press(folder)) as running:
        replica = Replica(SnapshotStore.open(folder / "store"), (), Metrics(), poll_s=0.02)
        with listening(create_app(replica)) as url:
            wait_for(lambda: replica.not_ready is None)
            yield running, url


def post(url, **body):
    return httpx.post(f"{url}/v1/models/press/batches", json=body).json()


def test_by_kind_and_sensor_also_of_what_is_learned_and_sent_again(urls):
    running, replica = urls
    labels = ["ok", "worn", None]
    for url in (running.url, replica):
        assert post(url, rows=ROWS)["replaced"] == FOUND
        assert "replaced" not in post(url, rows=[row(1)])
    for _ in range(2):
        assert post(running.url, rows=ROWS, labels=labels, batch_id="b-1")["replaced"] == FOUND
    assert post(running.url, rows=ROWS, labels=labels)["replaced"] == FOUND
    answer = running.client.predict("press", ROWS)
    assert answer.replaced == FOUND
    assert running.client.predict("press", [row(1)]).replaced == {}


def test_in_the_inference_protocol_as_counts(urls):
    running, _ = urls
    with triton.InferenceServerClient(running.url.removeprefix("http://")) as client:
        rows = triton.InferInput("rows", [2, 2], "FP32")
        rows.set_data_from_numpy(np.array([[1, np.nan], [999, 2]], np.float32))
        said = client.infer("press", [rows]).get_response()["parameters"]
        assert (said["missing"], said["out_of_range"]) == (1, 1)
