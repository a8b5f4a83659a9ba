"""Whatever goes wrong, what a stranger is told holds nothing of the inside: no paths of the server,
no SQL, no module, no traceback."""

from __future__ import annotations

import re

import httpx
import pytest

from model_store.errors import LogUnavailable, SnapshotDamaged, StoreUnavailable
from service.api.problems import without_places
from tests.line import teach
from tests.serving import label, press, row, serving

INSIDE = re.compile(
    r"Traceback|File \"|\.py\b|sqlite|SELECT |INSERT |PRAGMA|model_store|service\.|site-packages|"
    r"/tmp/|/root/|/home/|/usr/|/var/|s3://|\bat 0x"
)


def told(response: httpx.Response) -> str:
    return response.text + str(response.headers)


@pytest.fixture
def running(tmp_path):
    with serving(press(tmp_path)) as started:
        teach(started, 0, 3)
        yield started


def failing(error):
    def fail(*arguments, **more):
        raise error

    return fail


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailable("/tmp/x/store/models/press: [Errno 5] Input/output error: '/tmp/x/store'"),
        StoreUnavailable("s3://bucket/line-1/models: the bucket says slow down"),
        SnapshotDamaged("/tmp/x/models/press/snapshots/00000001/manifest.json", "a", "b"),
        OSError(28, "No space left on device", "/tmp/x/events.sqlite3"),
        RuntimeError("service.history.lessons: bad at 0x7f11"),
    ],
)
def test_nothing_of_the_inside_in_any_answer(running, tmp_path, error):
    store, events, api = running.learner.store, running.learner.events, f"{running.url}/v1/models"
    for name in ("read", "manifest", "versions", "alias", "publish", "set_alias", "marked"):
        setattr(store, name, failing(error))
    events.events = failing(LogUnavailable(f"{tmp_path}/log/events.sqlite3: database disk image"))
    asked = [
        ("GET", "press/snapshots", None),
        ("GET", "press/snapshots/1", None),
        ("GET", "press/snapshots/1/diff/1", None),
        ("GET", "press/verify", None),
        ("GET", "press/audit", None),
        ("GET", "press/live?at=2026-01-01T00:00:00Z", None),
        ("POST", "press/rollback", {"version": 1, "reason": "x"}),
        ("POST", "press/promote", {"version": 1, "reason": "x"}),
        ("POST", "press/promote", {"auto": True, "reason": "x"}),
        ("POST", "press/snapshot", {}),
        ("POST", "press/prune", {"events": True, "reason": "x"}),
        ("POST", "press/rebase", {"without": [[1, 1]], "reason": "x"}),
        ("POST", "press/rebase", {"without": [[1, 1]], "reason": "x", "dry_run": True}),
        ("POST", "press/snapshots/1/keep", {"keep": True, "reason": "x"}),
        ("GET", "press", None),
        ("GET", "nobody", None),
    ]
    failed = 0
    for method, path, body in asked:
        said = httpx.request(method, f"{api}/{path}", json=body, timeout=30)
        failed += said.status_code >= 500
        found = INSIDE.search(told(said).replace(running.url, ""))
        assert found is None, (method, path, said.text)
    assert failed >= 8


def test_a_log_that_cannot_be_written_is_told_without_its_place(running, tmp_path):
    full = LogUnavailable(f"{tmp_path}/log/events.sqlite3: database or disk is full")
    running.learner.events.commit = failing(full)
    at = f"{running.url}/v1/models/press/batches"
    said = httpx.post(at, json={"rows": [row(1)], "labels": [label(1)]})
    assert said.status_code == 503
    assert INSIDE.search(told(said)) is None, said.text
    assert "database or disk is full" in said.json()["detail"]
    ready = httpx.get(f"{running.url}/v2/health/ready")
    assert INSIDE.search(told(ready)) is None, ready.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/a/b.sqlite3: disk is full", "…: disk is full"),
        ("error: '/srv/x y', found", "error: '… y', found"),
        ("s3://bucket/x/y: slow down", "…: slow down"),
        (
            "models/press/audit/00000002.json: expected a",
            "models/press/audit/00000002.json: expected a",
        ),
        ("expected 1/2, found 3", "expected 1/2, found 3"),
    ],
)
def test_places_are_taken_out_and_the_rest_stays(text, told):
    assert without_places(text) == told
