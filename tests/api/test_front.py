"""The front answers lines as FastAPI's routes do, to the byte; and hands on what is not its own."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from service.api.app import create_app
from service.api.front import Front
from tests.serving import label, listening, press, row, serving

ROWS = [row(1), row(2)]
COLUMNS = {"temp": [20.0, None], "flow": [1.0, 2.0]}
QUESTIONS = {
    "rows": {"rows": ROWS},
    "columns": {"columns": COLUMNS},
    "an id": {"rows": ROWS, "batch_id": "a"},
    "labels of an id": {"rows": ROWS, "batch_id": "b", "labels": [label(1), None]},
    "out of range": {"rows": [{"temp": 1e9, "flow": 1.0}]},
    "nothing": {},
    "both": {"rows": ROWS, "columns": COLUMNS},
    "no rows": {"rows": []},
    "a strange key": {"rows": ROWS, "label": ["ok", "ok"]},
    "a strange sensor": {"rows": [{"temperature": 1}]},
    "text": {"rows": [{"temp": "20", "flow": 1.0}]},
    "a flag": {"columns": {"temp": [True, 1.5], "flow": [1.0, 2.0]}},
    "uneven columns": {"columns": {"temp": [1.0], "flow": [1.0, 2.0]}},
    "a strange class": {"rows": ROWS, "labels": ["ok", "broken"]},
    "too few labels": {"rows": ROWS, "labels": ["ok"]},
    "other rows of an id": {"rows": [row(7), row(8)], "batch_id": "a"},
    "a bad time": {"rows": ROWS, "observed_at": "yesterday"},
    "too many rows": {"rows": [row(k) for k in range(51)]},
    "late": {"batch_id": "a", "labels": ["ok", "worn"]},
    "late, of no batch": {"batch_id": "never", "labels": ["ok"]},
    "late, without labels": {"batch_id": "a", "labels": [None, None]},
}
BODIES = {
    "malformed": b'{"rows": [',
    "a list": b"[]",
    "empty": b"",
    "not a number": b'{"columns": {"temp": [NaN], "flow": [1]}}',
    "infinite": b'{"columns": {"temp": [1e999], "flow": [1]}}',
    "too large": b'{"rows": [' + b" " * 20_000 + b"]}",
}
HEADERS = {
    "a form": {"content-type": "text/plain"},
    "packed": {"content-type": "application/json", "content-encoding": "br"},
    "of another page": {"content-type": "application/json", "origin": "http://evil.example"},
}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same learner twice: behind the front, and behind a front that hands all on."""
    top = "[limits]\nrows_per_batch = 50\nbody_bytes = 20000\n"
    with serving(press(tmp_path_factory.mktemp("front"), top=top)) as running:
        behind = create_app(running.learner)
        behind._asked = lambda scope: None
        # Its lifespan is the learner's, which has started: only requests reach it.
        app = behind.app
        app.router.lifespan_context = lambda app: _nothing()
        with listening(behind) as url, httpx.Client() as client:
            yield running, client, url


class _nothing:
    async def __aenter__(self):
        return {}

    async def __aexit__(self, *error):
        return None


def same(both, path, content, headers=JSON):
    running, client, url = both
    # The one name for both: some answers quote it.
    headers = {**headers, "host": "localhost"}
    answers = [
        client.post(base + path, content=content, headers=headers) for base in (running.url, url)
    ]
    first, second = answers
    assert first.status_code == second.status_code
    assert first.content == second.content
    kept = [
        {k: v for k, v in a.headers.items() if k not in ("x-request-id", "date")} for a in answers
    ]
    assert kept[0] == kept[1]
    return first


@pytest.mark.parametrize("question", sorted(QUESTIONS))
@pytest.mark.parametrize("path", ["batches", "labels"])
def test_a_question_is_answered_alike(both, question, path):
    content = json.dumps(QUESTIONS[question]).encode()
    # What changes something is asked once before: the second and the third are its repetition.
    both[1].post(f"{both[0].url}/v1/models/press/{path}", content=content, headers=JSON)
    same(both, f"/v1/models/press/{path}", content)


@pytest.mark.parametrize("body", sorted(BODIES))
def test_a_bad_body_is_refused_alike(both, body):
    assert same(both, "/v1/models/press/batches", BODIES[body]).status_code in (400, 413, 422)


@pytest.mark.parametrize("kind", sorted(HEADERS))
def test_a_bad_head_is_refused_alike(both, kind):
    content = json.dumps({"rows": ROWS}).encode()
    answer = same(both, "/v1/models/press/batches", content, HEADERS[kind])
    assert answer.status_code in (403, 415)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/other/batches",
        "/v1/models/press/nothing",
        "/v1/models//batches",
        "/v1/models/a/b/batches",
        "/v1/models/pre%73s/batches",
        "/v1/models/press/batches/",
        "/v1/models/press/batches?x=1",
    ],
)
def test_a_path_is_read_alike(both, path):
    same(both, path, json.dumps({"rows": ROWS}).encode())


def test_both_count_under_the_same_names(both):
    running, client, url = both

    def counted():
        text = client.get(running.url + "/metrics").text
        found = re.findall(r"^apical_requests_total\{(.*)\} (.*)$", text, re.M)
        return {labels: float(value) for labels, value in found if "batches" in labels}

    before = counted()
    content = json.dumps({"rows": ROWS}).encode()
    for base in (running.url, url):
        client.post(base + "/v1/models/press/batches", content=content, headers=JSON)
    after = counted()
    changed = {
        key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key)
    }
    assert changed == {'code="200",model="press",route="/v1/models/{model}/batches"': 2.0}


def test_an_error_that_nobody_foresaw_is_a_problem_and_the_next_request_is_answered(
    both, monkeypatch
):
    running, client, _ = both
    monkeypatch.setattr(running.learner, "predict", lambda *a: 1 / 0)
    content = json.dumps({"rows": ROWS}).encode()
    answer = client.post(running.url + "/v1/models/press/batches", content=content, headers=JSON)
    assert answer.status_code == 500
    assert answer.json()["detail"] == "POST /v1/models/press/batches failed"
    monkeypatch.undo()
    assert client.post(
        running.url + "/v1/models/press/batches", content=content, headers=JSON
    ).is_success


def test_nothing_of_a_line_goes_through_fastapi(tmp_path, monkeypatch):
    """The front would be no front if it handed on what it should answer."""
    handed = []
    real = Front._asked
    monkeypatch.setattr(
        Front, "_asked", lambda self, scope: handed.append(real(self, scope)) or handed[-1]
    )
    with serving(press(tmp_path)) as running:
        running.client.predict("press", ROWS)
        running.client.learn("press", ROWS, ["ok", None], batch_id="x")
        running.client.label("press", "x", ["ok", "worn"])
        body = {"inputs": [{"name": "rows", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
        assert httpx.post(f"{running.url}/v2/models/press/infer", json=body).is_success
    asked = [(found.model, found.route.rpartition("/")[2]) for found in handed]
    assert asked == [("press", q) for q in ("batches", "batches", "labels", "infer")]
