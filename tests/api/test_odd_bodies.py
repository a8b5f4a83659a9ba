"""Requests that nobody sends on purpose, and errors that nobody expected: each has its answer, and
the next request is served as if nothing had been."""

from __future__ import annotations

import httpx
import pytest

import service.learner.model
from service.state import same
from tests.serving import label, press, row, serving

PROBLEM = "application/problem+json"

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with serving(press(tmp_path_factory.mktemp("odd"))) as running:
        running.client.learn("press", [row(0)], [label(0)])
        yield running


def post(running, path, body):
    return httpx.post(
        f"{running.url}/v1/models/press/{path}", content=body, headers=JSON, timeout=10
    )


def learns(running):
    before = running.client.model("press").seq
    assert running.client.learn("press", [row(1)], [label(1)]).learned == [True]
    return running.client.model("press").seq == before + 1


BATCH = r'{"rows": [{"temp": 20, "flow": 1}], "labels": ["ok"], '


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("batches", BATCH + r'"line": "\ud800"}'),
        ("batches", BATCH + r'"batch_id": "\udfff"}'),
        ("batches", BATCH + r'"\ud800": 1}'),
        ("labels", r'{"batch_id": "\ud800", "labels": ["ok"], "rows": [{"temp": 1}]}'),
        ("freeze", r'{"reason": "\ud800"}'),
        ("freeze", r'{"reason": "x", "actor": "a\udc00"}'),
        ("snapshot", r'{"actor": "\ud800"}'),
        ("rebase", r'{"reason": "x", "lines": ["\ud800"]}'),
    ],
)
def test_a_lone_surrogate_is_refused_wherever_it_stands_and_the_writer_lives(running, path, body):
    before = running.client.model("press").seq
    reply = post(running, path, body)
    assert (reply.status_code, reply.headers["content-type"]) == (400, PROBLEM)
    assert running.client.model("press").seq == before
    assert learns(running)


def test_a_pair_of_surrogates_is_a_character_like_any_other(running):
    reply = post(running, "batches", BATCH + r'"batch_id": "\ud83d\ude00"}')
    assert reply.json()["batch_id"] == "\U0001f600"


def test_a_step_whose_answer_fails_never_happened(running, monkeypatch):
    live = running.learner.models["press"]
    before = live.published
    real, asked = service.learner.model.batch_answer, []

    def once(*arguments, **more):
        asked.append(1)
        if len(asked) == 1:
            raise RuntimeError("cannot say it")
        return real(*arguments, **more)

    monkeypatch.setattr(service.learner.model, "batch_answer", once)
    reply = post(running, "batches", BATCH[:-2] + "}")
    assert reply.status_code == 500
    assert live.published is before
    assert learns(running)
    assert running.learner.events.last_seq("press") == live.published.seq == before.seq + 1
    assert live.published.steps == before.steps + 1


def test_a_state_that_survived_a_failed_step_is_the_one_that_a_restart_finds(tmp_path, monkeypatch):
    with serving(press(tmp_path)) as running:
        learns(running)
        with monkeypatch.context() as patch:
            patch.setattr(service.learner.model, "batch_answer", lambda *a, **k: 1 / 0)
            assert post(running, "batches", BATCH[:-2] + "}").status_code == 500
        for _ in range(3):
            assert learns(running)
        state = running.learner.models["press"].published
    # The start must replay, not read the state from the snapshot of the shutdown.
    newest = sorted((tmp_path / "store/models/press/snapshots").iterdir())[-1] / "state.safetensors"
    newest.chmod(0o644)
    newest.write_bytes(b"")
    with serving(press(tmp_path)) as running:
        assert same(running.learner.models["press"].published, state)


def test_an_error_that_nobody_expected_is_a_problem_document(running, monkeypatch):
    def breaks(*arguments):
        raise RuntimeError("secret of the inside")

    monkeypatch.setattr(running.learner, "describe", breaks)
    reply = httpx.get(f"{running.url}/v1/models/press")
    assert (reply.status_code, reply.headers["content-type"]) == (500, PROBLEM)
    assert reply.json()["status"] == 500
    assert "secret" not in reply.text


@pytest.mark.parametrize("path", ["snapshots/abc", "snapshots/1/diff/x", "live"])
def test_a_parameter_of_the_wrong_kind_is_a_problem_document(running, path):
    reply = httpx.get(f"{running.url}/v1/models/press/{path}")
    assert (reply.status_code, reply.headers["content-type"]) == (422, PROBLEM)
    (fault,) = reply.json()["faults"]
    assert fault["field"].startswith(("path.", "query."))


def test_a_key_that_stands_twice_is_refused_where_somebody_orders_something(tmp_path):
    with serving(press(tmp_path)) as running:
        for body in (
            '{"reason": "a", "reason": "b"}',
            '{"reason": "a", "actor": "x", "actor": ""}',
        ):
            said = post(running, "freeze", body)
            assert said.status_code == 400, said.text
            assert "expected each key once" in said.json()["detail"]
        assert not running.learner.models["press"].published.frozen
