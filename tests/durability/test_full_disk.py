"""A disk that is full: labels are refused, predictions go on, and all recovers by itself."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store.log.log import EventLog
from model_store.snapshots.store import SnapshotStore
from service.hosting.process import ServerProcess
from service.state import same
from tests.durability.aftermath import MODEL, copy_log, history, stored_states
from tests.kernel import born
from tests.serving import IMMEDIATE, PRESS, label, press, row

pytestmark = pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="only Linux limits another process's files"
)

BATCHES, LABELS = f"/v1/models/{MODEL}/batches", f"/v1/models/{MODEL}/labels"
READY = "/v2/health/ready"


@contextlib.contextmanager
def serving(folder: Path, output: str = "") -> Iterator[tuple[ServerProcess, httpx.Client]]:
    config = folder / "apical.toml"
    config.write_text(
        PRESS.format(
            store=repr(str(folder / "store")),
            log=repr(str(folder / "log")),
            top="",
            model=IMMEDIATE,
        )
    )
    log = Path(output) if output else folder / "server.log"
    with ServerProcess(["serve", "--config", str(config)], log) as server:
        server.wait_ready()
        with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as http:
            yield server, http


def limit_files(server: ServerProcess, size: int) -> None:
    """No file of the server's may grow beyond ``size`` bytes, as on a disk without room."""
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, hard))


def labelled(index: int, batch_id: str | None = None) -> dict[str, Any]:
    return unlabelled(index, batch_id) | {"labels": [label(index)]}


def unlabelled(index: int, batch_id: str | None = None) -> dict[str, Any]:
    return {"rows": [row(index)]} | ({"batch_id": batch_id} if batch_id else {})


def wait_ready(http: httpx.Client, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while http.get(READY).status_code != 200:
        assert time.monotonic() < deadline, "it did not recover by itself"
        time.sleep(0.02)


def fill_disk(server: ServerProcess, http: httpx.Client, log: Path) -> None:
    """Take the room away, and let the learner notice."""
    limit_files(server, (log / "events.sqlite3-wal").stat().st_size)
    refused = http.post(BATCHES, json=labelled(90, "refused"))
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert "nothing was learned" in refused.json()["detail"]


def states_agree(folder: Path) -> int:
    """After a clean stop: each stored state is that of the log at its seq. The last seq."""
    store = SnapshotStore.open(folder / "store")
    versions = stored_states(store)
    store.close()
    with EventLog.open(folder / "log") as events:
        states = history(events, versions, born(press(folder).models[0]))
    assert all(same(state, states[state.seq]) for state in versions.values())
    assert versions[max(versions)].seq == len(states) - 1
    return len(states) - 1


def test_a_full_disk_refuses_what_must_be_durable_and_nothing_else(tmp_path):
    with serving(tmp_path) as (server, http):
        taught = [http.post(BATCHES, json=labelled(i, f"b{i}")).content for i in range(8)]
        assert http.post(BATCHES, json=unlabelled(8, "waiting")).status_code == 200
        fill_disk(server, http, tmp_path / "log")

        # Longer than the learner takes to look again: what is full must not look recovered.
        answered = []
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            assert http.get(READY).status_code == 503
            for path, body in (
                (BATCHES, labelled(91)),
                (BATCHES, labelled(92, "refused too")),
                (BATCHES, unlabelled(93, "refused as well")),
                (LABELS, {"batch_id": "waiting", "labels": [label(8)]}),
            ):
                refused = http.post(path, json=body)
                assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
            answered.append(http.post(BATCHES, json=unlabelled(0)))
        assert {answer.status_code for answer in answered} == {200}
        assert {answer.json()["answered_by"]["seq"] for answer in answered} == {8}
        assert http.get("/v2/health/live").status_code == 200

        limit_files(server, resource.RLIM_INFINITY)
        wait_ready(http)
        # Nothing of what was refused has happened, and what was answered is answered again.
        assert http.post(BATCHES, json=labelled(90, "refused")).json()["learned"] == [True]
        late = http.post(LABELS, json={"batch_id": "waiting", "labels": [label(8)]})
        assert late.json()["outcomes"] == ["learned"]
        for index, reply in enumerate(taught):
            assert http.post(BATCHES, json=labelled(index, f"b{index}")).content == reply
    assert states_agree(tmp_path) == 10


def test_the_disk_may_fill_up_again_and_again(tmp_path):
    with serving(tmp_path) as (server, http):
        for turn in range(3):
            assert http.post(BATCHES, json=labelled(turn, f"b{turn}")).json()["learned"] == [True]
            fill_disk(server, http, tmp_path / "log")
            assert http.get(READY).status_code == 503
            limit_files(server, resource.RLIM_INFINITY)
            wait_ready(http)
    assert states_agree(tmp_path) == 3


def test_a_kill_while_the_disk_is_full_loses_nothing_acknowledged(tmp_path):
    with serving(tmp_path) as (server, http):
        replies = [http.post(BATCHES, json=labelled(i, f"b{i}")).content for i in range(5)]
        fill_disk(server, http, tmp_path / "log")
        server.kill()
    with serving(tmp_path) as (_, http):
        for index, reply in enumerate(replies):
            assert http.post(BATCHES, json=labelled(index, f"b{index}")).content == reply
        seq = http.get(f"/v1/models/{MODEL}").json()["seq"]
    assert states_agree(tmp_path) == seq == 5


def test_a_stop_while_the_disk_is_full_loses_nothing_acknowledged(tmp_path):
    with serving(tmp_path) as (server, http):
        replies = [http.post(BATCHES, json=labelled(i, f"b{i}")).content for i in range(5)]
        fill_disk(server, http, tmp_path / "log")
        copy_log(tmp_path, tmp_path / "aside")
        server.stop()
    with serving(tmp_path) as (_, http):
        for index, reply in enumerate(replies):
            assert http.post(BATCHES, json=labelled(index, f"b{index}")).content == reply
    assert states_agree(tmp_path) == 5


def test_a_snapshot_that_found_no_room_is_not_taken_for_one_that_exists(tmp_path):
    # What the server says must find room all the same.
    with serving(tmp_path, os.devnull) as (server, http):
        http.post(BATCHES, json=labelled(0, "b0"))
        limit_files(server, 100)  # enough for no file of a snapshot
        snapshot = {"reason": "test"}
        for _ in range(2):
            assert http.post(f"/v1/models/{MODEL}/snapshot", json=snapshot).status_code == 503
        limit_files(server, resource.RLIM_INFINITY)
        wait_ready(http)
        taken = http.post(f"/v1/models/{MODEL}/snapshot", json=snapshot)
        assert (taken.status_code, taken.json()["seq"]) == (200, 1)
    assert states_agree(tmp_path) == 1
