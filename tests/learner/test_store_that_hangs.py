"""A store that does not answer keeps nobody waiting but those who ask it something."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from service.evaluation.gate import Gate, Verdict
from service.learner import cadence
from tests.line import teach, wait_for
from tests.serving import label, press, row, serving

SOON_S = 10.0
"""Far above what an answer takes, far below what the store takes."""

HANGS = ("read", "manifest", "versions", "alias", "aliases", "publish", "set_alias", "marked")


@pytest.fixture
def hanging(tmp_path):
    """A learner whose store hangs once it is told to."""
    with serving(press(tmp_path, model='promotion = "gate"\nprobation_rows = 1000')) as running:
        teach(running, 0, 4)
        running.client.snapshot("press")
        store, over, hung = running.learner.store, threading.Event(), threading.Event()

        def hang(*arguments, **more):
            hung.set()
            assert over.wait(120)
            raise OSError("the bucket is gone")

        def begin():
            for name in HANGS:
                setattr(store, name, hang)
            for trail in store._trails.values():
                trail.head = trail.append = trail.entries = trail.verify = hang

        try:
            yield running, begin, hung, over
        finally:
            over.set()


def test_predictions_labels_health_and_metrics_go_on(hanging):
    running, begin, hung, over = hanging
    begin()
    api = f"{running.url}/v1/models/press"
    said = {"reason": "x"}
    asked = [("POST", "freeze", said), ("POST", "rollback", {"version": 1, **said})]
    asked += [("POST", "promote", {"version": 2, **said}), ("POST", "snapshot", {})]
    asked += [("GET", "audit", None), ("GET", "verify", None), ("GET", "snapshots", None)] * 3
    with ThreadPoolExecutor(len(asked)) as pool:
        waiting = [
            pool.submit(httpx.request, method, f"{api}/{path}", json=body, timeout=120)
            for method, path, body in asked
        ]
        assert hung.wait(30)
        for index in range(5):
            body = {"rows": [row(index)], "labels": [label(index)]}
            answer = httpx.post(f"{api}/batches", json=body, timeout=SOON_S)
            assert answer.json()["learned"] == [True]
            body = {"rows": [row(index)], "batch_id": f"b{index}"}
            assert httpx.post(f"{api}/batches", json=body, timeout=SOON_S).status_code == 200
            late = {"batch_id": f"b{index}", "labels": [label(index)]}
            answer = httpx.post(f"{api}/labels", json=late, timeout=SOON_S)
            assert answer.json()["outcomes"] == ["learned"]
            for path in ("/v2/health/live", "/v2/health/ready", "/metrics", "/v1/models/press"):
                assert httpx.get(f"{running.url}{path}", timeout=SOON_S).status_code == 200
        # They wait for it, and nobody for them.
        assert not any(future.done() for future in waiting[:3])
        over.set()
        for future in waiting:
            future.result(120)


def test_what_gate_and_guard_decide_meanwhile_waits_and_nobody_else_does(tmp_path, monkeypatch):
    with serving(press(tmp_path, model='promotion = "gate"\nguard = "off"')) as running:
        teach(running, 0, 3)
        running.client.snapshot("press")
        steward = running.learner.duties.steward("press")
        wait_for(lambda: steward.gate.candidate == 2)
        store, over = running.learner.store, threading.Event()
        real = store.read

        def hang(*arguments, **more):
            assert over.wait(120)
            return real(*arguments, **more)

        store.read = hang
        left = [Verdict(2, True, 100, 1.0, 0.5, 0.2, 0.1, 1, 2)]
        monkeypatch.setattr(Gate, "observe", lambda *a, **k: left.pop() if left else None)
        teach(running, 3, 20)
        assert running.client.model("press").raw["champion"] == 1
        over.set()
        wait_for(lambda: running.client.model("press").raw["champion"] == 2)


def test_a_rebase_that_has_caught_up_waits_for_the_store_and_labels_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr(cadence, "STAGING_S", 0.5)
    with serving(press(tmp_path)) as running:
        teach(running, 0, 8)
        store, over, hung = running.learner.store, threading.Event(), threading.Event()
        real = store.publish

        def hang(*arguments, **more):
            hung.set()
            assert over.wait(120)
            return real(*arguments, **more)

        store.publish = hang
        running.client.verb("press", "rebase", reason="bad", actor="anna", without=[[3, 5]])
        assert hung.wait(30)
        begun = time.monotonic()
        teach(running, 8, 5)
        assert time.monotonic() - begun < SOON_S
        over.set()
        latest = running.learner.rebasings.latest("press")
        wait_for(lambda: not latest.running)
        assert latest.status()["state"] == "done", latest.status()
        assert latest.status()["excluded_lessons"] == 3
        teach(running, 13, 2)
        running.client.snapshot("press")
