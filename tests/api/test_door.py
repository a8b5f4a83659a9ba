"""A page in a browser steers no learner: type, origin and host of every request that changes
something are looked at first."""

from __future__ import annotations

import httpx
import pytest

from tests.serving import label, press, row, serving

CHANGING = ["batches", "labels", "snapshot", "freeze", "thaw", "rollback", "promote", "rebase"]
CHANGING += ["rebase/cancel", "prune", "drift/renew", "snapshots/1/keep"]
BODY = b'{"reason": "x"}'
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with serving(press(tmp_path_factory.mktemp("door"))) as started:
        yield started


def ask(running, path, headers, body=BODY):
    return httpx.post(f"{running.url}/v1/models/press/{path}", content=body, headers=headers)


def seq(running):
    return running.learner.models["press"].published.seq


@pytest.mark.parametrize("path", CHANGING)
@pytest.mark.parametrize(
    ("headers", "status", "named"),
    [
        ({"content-type": "text/plain"}, 415, "expected application/json, found 'text/plain'"),
        ({"content-type": "application/x-www-form-urlencoded"}, 415, "application/json"),
        ({}, 415, "found 'none'"),
        (JSON | {"origin": "http://evil.example"}, 403, "found 'http://evil.example'"),
        (JSON | {"origin": "null"}, 403, "found 'null'"),
        (JSON | {"origin": "http://127.0.0.1:1"}, 403, "expected none or http://127.0.0.1:"),
        (JSON | {"host": "evil.example"}, 421, "Host: expected an address or one of"),
        (JSON | {"host": "127.0.0.1.evil.example:80"}, 421, "found '127.0.0.1.evil.example:80'"),
        (JSON | {"content-encoding": "br"}, 415, "identity, gzip, deflate, found 'br'"),
    ],
)
def test_what_a_page_could_send_is_refused(running, path, headers, status, named):
    before = seq(running)
    said = ask(running, path, headers)
    assert said.status_code == status, said.text
    assert named in said.json()["detail"]
    assert said.headers["content-type"] == "application/problem+json"
    assert seq(running) == before


def test_what_a_line_and_a_console_of_ours_send_passes(running):
    netloc = running.url.removeprefix("http://")
    body = b'{"rows": [{"temp": 1}], "labels": ["ok"]}'
    for headers in (
        JSON,
        {"content-type": "application/json; charset=utf-8"},
        JSON | {"origin": f"http://{netloc}"},
        JSON | {"host": f"localhost:{netloc.split(':')[1]}"},
        JSON | {"host": "[::1]:80"},
        JSON | {"host": "10.1.2.3"},
    ):
        before = seq(running)
        said = ask(running, "batches", headers, body)
        assert said.status_code == 200, (headers, said.text)
        assert seq(running) == before + 1


def test_a_page_under_a_name_of_its_own_reads_nothing_and_a_probe_passes(running):
    foreign = {"host": "evil.example"}
    for path in ("/v1/models", "/v1/models/press/audit", "/metrics", "/docs", "/v2/models/press"):
        assert httpx.get(running.url + path, headers=foreign).status_code == 421
        assert httpx.get(running.url + path).status_code == 200
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert httpx.get(running.url + path, headers=foreign).status_code == 200


def test_a_name_that_is_allowed_is_ours(tmp_path):
    with serving(press(tmp_path), hosts=["Learner.factory"]) as running:
        rows = {"rows": [row(1)], "labels": [label(1)]}
        at = f"{running.url}/v1/models/press/batches"
        said = httpx.post(at, json=rows, headers={"host": "learner.factory:8080"})
        assert said.status_code == 200, said.text
        said = httpx.post(at, json=rows, headers={"host": "other.factory"})
        assert said.status_code == 421
        assert "learner.factory" in said.json()["detail"]


def test_the_page_of_the_api_is_found_behind_a_prefix(tmp_path):
    with serving(press(tmp_path), root_path="/apical") as running:
        page = httpx.get(f"{running.url}/docs").text
        assert "/apical/openapi.json" in page
        document = httpx.get(f"{running.url}/openapi.json").json()
        assert document["servers"] == [{"url": "/apical"}]
        assert running.client.predict("press", [row(1)]).role == "learner"
