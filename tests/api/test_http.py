"""The HTTP surface over a real socket: batches, models, snapshots, health, problems."""

from __future__ import annotations

import asyncio
import json
import re

import httpx
import numpy as np
import pytest

from clients import AsyncClient, Client, Rejected, Unreachable
from service.api.v1.readings import labels as read_labels
from service.api.v1.readings import readings as read_rows
from service.graph.session import Session
from tests.serving import label, press, row, serving

BATCHES = "/v1/models/press/batches"

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    top = "[limits]\nrows_per_batch = 50\nbody_bytes = 20000\n"
    with serving(press(tmp_path_factory.mktemp("http"), top=top)) as running:
        yield running


@pytest.fixture
def http(running):
    with httpx.Client(base_url=running.url) as client:
        yield client


def bits(probabilities):
    return np.array(probabilities, np.float32).tobytes()


def test_a_labelled_reply_is_bitwise_that_of_the_same_rows_without_labels(running):
    for start in range(0, 60, 6):
        rows = [row(i) for i in range(start, start + 6)]
        rows[2]["flow"] = None
        plain = running.client.predict("press", rows)
        taught = running.client.learn("press", rows, [label(start), None, "ok", "ok", None, "worn"])
        assert taught.seq == plain.seq
        assert bits(taught.probabilities) == bits(plain.probabilities)
        assert taught.predictions == plain.predictions
        assert taught.learned == [True, False, True, True, False, True]
        assert running.client.predict("press", rows).seq == plain.seq + 1


def test_it_learns(running):
    for index in range(1500):
        running.client.learn("press", [row(index)], [label(index)])
    info = running.client.model("press")
    assert info.prequential["window"]["accuracy"] > 0.9
    assert info.prequential["overall"]["rows"] >= 1500


def test_rows_and_columns_answer_alike(running):
    rows = [row(1), row(2)]
    columns = {"temp": [r["temp"] for r in rows], "flow": [r["flow"] for r in rows]}
    by_rows = running.client.predict("press", rows)
    assert by_rows == running.client.predict("press", columns=columns)
    assert by_rows.classes == ["ok", "worn"]
    assert by_rows.role == "learner"


@pytest.mark.parametrize(
    ("body", "status", "fault"),
    [
        (b"", 400, {"field": "body", "found": "an empty body"}),
        (b"{not json", 400, {"field": "body", "expected": "a JSON object"}),
        (b"[1]", 400, {"field": "body", "found": "list"}),
        (b'{"rows": [{"temp": Infinity}]}', 422, {"row": 0, "field": "temp", "found": "infinity"}),
        (b'{"rows": [{"temp": 1e999}]}', 422, {"row": 0, "field": "temp", "found": "infinity"}),
        (b'{"rows": [{"temp": NaN}]}', 422, {"row": 0, "field": "temp"}),
        ({"rows": [{"temp": 1}, {"tmep": 1}]}, 422, {"row": 1, "field": "tmep"}),
        ({"rows": [{"temp": "hot"}]}, 422, {"row": 0, "field": "temp", "found": "'hot'"}),
        (
            {"rows": [{"temp": 1}], "labels": ["bad"]},
            422,
            {"row": 0, "field": "labels", "found": "'bad'"},
        ),
        ({"rows": [{"temp": 1}], "labels": ["ok", "ok"]}, 422, {"field": "labels", "found": "2"}),
        ({"rows": []}, 422, {"field": "rows", "expected": "at least one row"}),
        ({"rows": [{"temp": 1}] * 51}, 413, {"field": "rows", "found": "51"}),
        ({"rows": [{"temp": 1}], "batch_id": "x" * 30000}, 413, {"field": "body"}),
        (
            {"rows": [{"temp": 1}], "label": ["ok"]},
            422,
            {"field": "label", "found": "an unknown key"},
        ),
        ({"rows": [{"temp": 1}], "batch_id": 7}, 422, {"field": "batch_id"}),
        ({"rows": [{"temp": 1}], "observed_at": "yesterday"}, 422, {"field": "observed_at"}),
        (
            {"rows": [{"temp": 1}], "observed_at": "2026-03-01T06:30:00"},
            422,
            {"field": "observed_at"},
        ),
    ],
)
def test_bad_input_is_a_problem_document_and_the_model_is_untouched(
    running, http, body, status, fault
):
    before = running.learner.models["press"].published
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = http.post(BATCHES, content=content, headers=JSON)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert problem["status"] == status
    assert problem["faults"][0].items() >= fault.items()
    assert all(problem["faults"][0][key] for key in ("field", "expected", "found"))
    assert running.learner.models["press"].published is before


def test_a_body_without_a_declared_length_is_bounded_too(http):
    def chunks():
        for _ in range(100):
            yield b" " * 1000

    assert http.post(BATCHES, content=chunks(), headers=JSON).status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/pres", 404),
        ("POST", "/v1/models/pres/batches", 404),
        ("GET", "/v1/models/press/snapshots/99", 404),
        ("GET", "/nowhere", 404),
        ("DELETE", "/v1/models", 405),
    ],
)
def test_what_does_not_exist_is_a_problem_document(http, method, path, status):
    reply = http.request(method, path, content=b"{}" if method == "POST" else None, headers=JSON)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["detail"]


def test_an_unknown_model_names_those_that_are_known(running):
    with pytest.raises(Rejected, match=r"expected one of the models \['press'\], found 'pres'"):
        running.client.model("pres")


def test_a_snapshot_on_demand_answers_as_the_learner_does_at_its_seq(running):
    snapshot = running.client.snapshot("press", reason="test")
    rows = [row(i) for i in range(40)]
    live = running.client.predict("press", rows)
    assert live.seq == snapshot.seq
    assert live.snapshot == snapshot.version
    graph = running.learner.store.read("press", snapshot.version, "model.onnx")
    readings = np.array([[r["temp"], r["flow"]] for r in rows], np.float32)
    np.testing.assert_allclose(
        Session(graph).probabilities(readings), live.probabilities, rtol=0, atol=1e-5
    )
    again = running.client.snapshot("press")
    assert again.version == snapshot.version
    assert [s.version for s in running.client.snapshots("press")][-1] == snapshot.version
    manifest = httpx.get(f"{running.url}/v1/models/press/snapshots/{snapshot.version}").json()
    assert manifest["parity"]["max_abs_diff"] <= 1e-5
    assert manifest["schema"]["features"][0] == {
        "name": "temp",
        "unit": "°C",
        "range": [-20.0, 150.0],
        "out_of_range": "missing",
    }


def test_health_and_metrics(running, http):
    assert http.get("/v2/health/live").json() == {"live": True}
    assert http.get("/v2/health/ready").json() == {"ready": True}
    running.client.learn("press", [row(0), {"temp": None, "flow": 999}], ["ok", None])
    text = http.get("/metrics").text
    for series in (
        'apical_request_seconds_count{model="press",route="/v1/models/{model}/batches"}',
        'apical_requests_total{code="200",model="press",route="/v1/models/{model}/batches"}',
        'apical_rows_total{model="press",outcome="predicted"}',
        'apical_rows_total{model="press",outcome="learned"}',
        'apical_updates_total{model="press",outcome="applied"}',
        'apical_prequential_score{model="press",score="accuracy",span="window"}',
        'apical_readings_total{feature="flow",kind="out_of_range",model="press"} 1.0',
        'apical_readings_total{feature="temp",kind="missing",model="press"} 1.0',
        'apical_store_seconds_count{operation="publish"}',
        'apical_durable_seq{model="press"}',
        'apical_build_info{role="learner"',
    ):
        assert series in text, series


def test_paths_that_do_not_exist_make_no_series_of_their_own(http):
    http.get("/some/random/path")
    http.get("/v1/models/random-model")
    text = http.get("/metrics").text
    assert "random" not in text


def test_a_request_id_is_echoed_or_made(http):
    assert (
        http.get("/v2/health/live", headers={"x-request-id": "r-1"}).headers["x-request-id"]
        == "r-1"
    )
    assert len(http.get("/v2/health/live").headers["x-request-id"]) == 32


def test_openapi_examples_are_accepted_by_a_model_with_those_sensors(http):
    document = http.get("/openapi.json").json()
    operation = document["paths"]["/v1/models/{model}/batches"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    from service.schema import Schema, Sensor

    schema = Schema(
        [Sensor("temp_c", "°C", -20, 150), Sensor("vibration_mm_s", "mm/s", 0, 50)], ["ok", "worn"]
    )
    assert examples.keys() == {"predict", "learn", "columns"}
    for example in examples.values():
        readings = read_rows(schema, example["value"], 10)
        read_labels(schema, example["value"].get("labels"), len(readings.rows))
    assert {"400", "404", "413", "422", "429", "503"} <= operation["responses"].keys()
    # Every reference inside the document resolves.
    for reference in set(_references(document)):
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_the_page_of_all_routes_needs_no_other_host(http):
    page = http.get("/docs")
    assert page.status_code == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert loaded
    for address in loaded:
        assert address.startswith(str(http.base_url)), address
        assert http.get(address).status_code == 200


def _references(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_the_async_client_does_the_same(running):
    async def talk():
        async with AsyncClient(running.url) as client:
            assert await client.ready()
            taught = await client.learn("press", [row(5)], [label(5)], batch_id="async-1")
            late = await client.label("press", "async-1", [label(5)])
            return (
                taught,
                late,
                await client.predict("press", [row(5)]),
                await client.models(),
                await client.snapshot("press"),
                await client.snapshots("press"),
            )

    taught, late, plain, models, snapshot, snapshots = asyncio.run(talk())
    assert taught.learned == [True]
    assert late.outcomes == ["known"]
    assert plain.seq == taught.seq + 1
    assert [m.name for m in models] == ["press"]
    assert snapshots[-1].version == snapshot.version


def test_client_says_unreachable_where_nobody_listens():
    with Client("http://127.0.0.1:9") as client, pytest.raises(Unreachable):
        client.models()
