"""Clients of the Open Inference Protocol that nobody here wrote, as they are, over a real socket:
they predict, teach, give feedback and read errors, on a learner and on a replica."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError
from open_inference.openapi.types.inference_request import InferenceRequest
from tritonclient.utils import InferenceServerException

from model_store.snapshots.store import SnapshotStore
from service.api.app import create_app
from service.metrics.declared import Metrics
from service.replica.replica import Replica
from tests.line import wait_for
from tests.serving import IMMEDIATE, listening, press, serving

ROWS = np.array([[70.0, 2.0], [90.5, np.nan], [20.0, 9.5]], np.float32)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inference")
    with serving(press(folder, model=IMMEDIATE)) as started:
        yield started


@pytest.fixture(scope="module")
def replica(running):
    place = running.learner.configuration.storage.store
    follower = Replica(SnapshotStore.open(place), (), Metrics(), poll_s=0.01)
    with listening(create_app(follower)) as url:
        with contextlib.closing(
            triton.InferenceServerClient(url.removeprefix("http://"))
        ) as client:
            wait_for(client.is_server_ready)
        yield url


def netloc(url):
    return url.removeprefix("http://")


def tensors(kind, binary, labels=None, rows=ROWS):
    found = []
    if rows is not None:
        found.append(kind.InferInput("rows", list(rows.shape), "FP32"))
        found[-1].set_data_from_numpy(rows, binary_data=binary)
    if labels is not None:
        datatype = "INT64" if labels.dtype == np.int64 else "BYTES"
        found.append(kind.InferInput("label", list(labels.shape), datatype))
        found[-1].set_data_from_numpy(labels, binary_data=binary)
    return found


NAMES = np.array(["ok", "", "worn"], object)
INDICES = np.array([[0], [-1], [1]], np.int64)


@pytest.fixture
def client(running):
    with contextlib.closing(triton.InferenceServerClient(netloc(running.url))) as made:
        yield made


def test_triton_s_client_finds_what_it_looks_for(running, client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("press")
    assert client.is_model_ready("press", "live")
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata()["name"] == "apical"
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    found = client.get_model_metadata("press")
    assert found["platform"] == "onnx_onnxv1"
    assert found["inputs"] == [{"name": "rows", "datatype": "FP32", "shape": [-1, 2]}]
    assert found["parameters"]["features"] == ["temp", "flow"]
    config = client.get_model_config("press")
    assert [(i["name"], i.get("optional", False)) for i in config["input"]] == [
        ("rows", False),
        ("label", True),
    ]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
def test_triton_s_client_predicts_to_the_bit_what_our_own_gets(running, client, binary, packing):
    ours = running.client.predict(
        "press", [{"temp": 70.0, "flow": 2.0}, {"temp": 90.5}, {"temp": 20.0, "flow": 9.5}]
    )
    wanted = [
        triton.InferRequestedOutput(name, binary_data=binary)
        for name in ("probabilities", "prediction")
    ]
    for outputs in (None, wanted):
        found = client.infer(
            "press",
            tensors(triton, binary),
            request_id="a 7",
            outputs=outputs,
            request_compression_algorithm=packing,
        )
        assert found.get_response()["id"] == "a 7"
        said = found.as_numpy("probabilities")
        assert said.tobytes() == np.array(ours.probabilities, np.float32).tobytes()
        assert [_text(p) for p in found.as_numpy("prediction")[:, 0]] == ours.predictions
        assert found.as_numpy("outcome") is None


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("labels", [NAMES, INDICES], ids=["names", "indices"])
def test_triton_s_client_teaches_and_gives_feedback(running, client, binary, labels):
    batch = {"batch_id": f"teach {binary} {labels.dtype}", "line": "press 3"}
    before = running.client.model("press").seq
    found = client.infer("press", tensors(triton, binary, labels), parameters=batch)
    assert found.as_numpy("learned")[:, 0].tolist() == [True, False, True]
    assert [_text(o) for o in found.as_numpy("outcome")[:, 0]] == [
        "learned",
        "unlabelled",
        "learned",
    ]
    assert running.client.model("press").seq == before + 1
    # The same again: the same reply, and nothing is taught twice.
    again = client.infer("press", tensors(triton, binary, labels), parameters=batch)
    assert again.as_numpy("probabilities").tobytes() == found.as_numpy("probabilities").tobytes()
    assert running.client.model("press").seq == before + 1
    late = np.array(["", "ok", ""], object) if labels is NAMES else np.array([-1, 0, -1])
    feedback = client.infer("press", tensors(triton, binary, late, None), parameters=batch)
    assert [_text(o) for o in feedback.as_numpy("outcome")[:, 0]] == [
        "unlabelled",
        "learned",
        "unlabelled",
    ]
    assert running.client.model("press").seq == before + 2
    record = next(iter(running.learner.events.events("press", after=before)))
    assert (record.batch_id, record.line) == (batch["batch_id"], "press 3")


def test_a_tensor_for_each_feature_says_the_same(client):
    whole = client.infer("press", tensors(triton, True))
    flow, temp = triton.InferInput("flow", [3, 1], "FP64"), triton.InferInput("temp", [3], "FP32")
    flow.set_data_from_numpy(ROWS[:, 1:].astype(np.float64))
    temp.set_data_from_numpy(ROWS[:, 0])
    parts = client.infer("press", [flow, temp])
    assert parts.as_numpy("probabilities").tobytes() == whole.as_numpy("probabilities").tobytes()


def test_a_replica_predicts_by_the_champion_and_refuses_labels(running, replica):
    running.client.learn("press", [{"temp": 1}], ["ok"])
    running.client.snapshot("press")
    version = running.client.model("press").snapshot
    with contextlib.closing(triton.InferenceServerClient(netloc(replica))) as client:
        wait_for(lambda: client.get_model_metadata("press")["versions"][0] == str(version))
        versions = client.get_model_metadata("press")["versions"]
        assert versions == [str(version), str(version - 1)]
        found = client.infer("press", tensors(triton, True), model_version=versions[1])
        assert found.get_response()["model_version"] == versions[1]
        found = client.infer("press", tensors(triton, True))
        assert found.get_response()["model_version"] == versions[0]
        live = running.client.predict(
            "press", columns={"temp": ROWS[:, 0].tolist(), "flow": [2.0, None, 9.5]}
        )
        assert np.allclose(found.as_numpy("probabilities"), live.probabilities, atol=1e-5)
        with pytest.raises(InferenceServerException, match="a replica does not learn"):
            client.infer("press", tensors(triton, True, INDICES))
        with pytest.raises(InferenceServerException) as refused:
            client.infer("press", tensors(triton, True), model_version="999")
        assert refused.value.status() == "404"
        assert f"expected one of the versions {versions}" in refused.value.message()


def test_triton_s_client_reads_what_was_wrong(client):
    for given, parameters, status, said in [
        ([_input("rows", [1, 3], np.ones((1, 3)))], {}, "400", "expected shape [rows, 2]"),
        ([_input("rows", [1, 2], np.array([[np.inf, 1]]))], {}, "400", "row 0, temp: expected a"),
        ([_input("pressure", [1], np.ones(1))], {}, "400", "one of the sensors temp, flow"),
        (tensors(triton, True), {"batchid": "x"}, "400", "expected batch_id"),
        (tensors(triton, True, np.array([0, 2, 7])), {}, "400", "row 1, label: expected an index"),
        (tensors(triton, True, np.array([0])), {}, "400", "expected 3 labels, one per row"),
        (tensors(triton, True, np.array([0]), None), {}, "400", "label without batch_id"),
    ]:
        with pytest.raises(InferenceServerException) as refused:
            client.infer("press", given, parameters=parameters)
        assert refused.value.status() == status
        assert said in refused.value.message()
    with pytest.raises(InferenceServerException) as refused:
        client.infer("nothing", tensors(triton, True))
    assert refused.value.status() == "404"


def _input(name, shape, values):
    made = triton.InferInput(name, shape, "FP64")
    made.set_data_from_numpy(values.astype(np.float64))
    return made


def test_triton_s_asynchronous_client_does_the_same(running):
    async def use():
        async with triton_aio.InferenceServerClient(netloc(running.url)) as client:
            assert await client.is_model_ready("press")
            given = tensors(triton_aio, True, INDICES)
            taught = await client.infer("press", given, parameters={"batch_id": "aio"})
            late = tensors(triton_aio, True, np.array([1, 1, 1]), None)
            fed = await client.infer("press", late, parameters={"batch_id": "aio"})
            with pytest.raises(InferenceServerException, match="expected one of the models"):
                await client.infer("nothing", given)
            return taught.as_numpy("learned"), fed.as_numpy("outcome")

    learned, outcome = asyncio.run(use())
    assert learned[:, 0].tolist() == [True, False, True]
    assert outcome[:, 0].tolist() == [b"contradicts", b"learned", b"known"]


@pytest.fixture
def generated(running):
    with httpx.Client() as http:
        yield OpenInferenceClient(base_url=running.url, httpx_client=http)


def test_the_client_that_was_generated_from_the_specification(generated):
    client = generated
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_version_readiness("press", "live")
    assert client.read_server_metadata().name == "apical"
    assert client.read_model_version_metadata("press", "live").platform == "onnx_onnxv1"
    rows = {"name": "rows", "datatype": "FP32", "shape": [2, 2], "data": [70, 2, 90, 3]}
    label = {"name": "label", "datatype": "INT64", "shape": [2], "data": [0, 1]}

    def ask(*inputs, model="press", **parameters):
        asked = InferenceRequest.parse_obj({"inputs": inputs, "parameters": parameters})
        return client.model_version_infer(model, "live", request=asked)

    def output(found, name):
        return next(o.data.__root__ for o in found.outputs if o.name == name)

    assert len(output(ask(rows), "probabilities")) == 4
    assert output(ask(rows, label), "outcome") == ["learned", "learned"]
    ask(rows, batch_id="generated")
    assert output(ask(label, batch_id="generated"), "outcome") == ["learned", "learned"]
    with pytest.raises(ApiError) as refused:
        ask({**rows, "shape": [2, 3]})
    assert refused.value.status_code == 400
    with pytest.raises(ApiError) as refused:
        ask(rows, model="nothing")
    assert refused.value.status_code == 404
