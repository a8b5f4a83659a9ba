"""Replicas: they follow the champion, distrust what they read, and never mix two versions."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest

from clients import Client, Rejected, TryAgain
from model_store.snapshots.store import SnapshotStore
from service.api.app import create_app
from service.graph.session import Session
from service.metrics.declared import Metrics
from service.replica.replica import Replica
from service.replica.serving import Followed
from tests.line import teach, wait_for
from tests.serving import label, listening, press, row, serving


@contextlib.contextmanager
def following(store: Path, poll_s: float = 0.01, models: tuple[str, ...] = ()):
    replica = Replica(SnapshotStore.open(store), models, Metrics(), poll_s=poll_s)
    with listening(create_app(replica)) as url, Client(url) as client:
        yield replica, client


ROWS = [row(i) for i in range(30)]


def bits(answer) -> bytes:
    return np.array(answer.probabilities, np.float32).tobytes()


def test_a_replica_follows_the_champion_and_answers_as_the_learner_did(tmp_path):
    with serving(press(tmp_path)) as running, following(tmp_path / "store") as (_, replica):
        wait_for(replica.ready)
        for start in (0, 20, 40):
            teach(running.client, start, 20)
            version = running.client.snapshot("press").version
            live = running.client.predict("press", ROWS)
            wait_for(lambda v=version: replica.model("press").snapshot == v)
            copy = replica.predict("press", ROWS, batch_id="b-1")
            assert (copy.role, copy.snapshot, copy.seq) == ("replica", version, start + 20)
            assert copy.batch_id == "b-1"
            np.testing.assert_allclose(copy.probabilities, live.probabilities, rtol=0, atol=1e-5)
        assert [s.version for s in replica.snapshots("press")] == [3, 4]


def test_a_label_sent_to_a_replica_is_refused_not_ignored(tmp_path):
    with serving(press(tmp_path)), following(tmp_path / "store") as (_, replica):
        with pytest.raises(Rejected, match="a replica does not learn"):
            replica.learn("press", ROWS[:1], ["ok"])
        with pytest.raises(Rejected, match="a replica does not learn"):
            replica.label("press", "b-1", ["ok"])
        with pytest.raises(Rejected, match="404"):
            replica.snapshot("press")


def test_a_label_is_refused_also_while_a_replica_waits_for_a_champion(tmp_path):
    SnapshotStore.open(tmp_path / "store", write=True).close()
    with following(tmp_path / "store", models=("press",)) as (_, replica):
        with pytest.raises(Rejected, match="a replica does not learn"):
            replica.learn("press", ROWS[:1], ["ok"])
        with pytest.raises(Rejected, match="a replica does not learn"):
            replica.label("press", "b-1", ["ok"])
        with pytest.raises(TryAgain):
            replica.predict("press", ROWS)


def test_rollback_reaches_the_replica_and_survives_a_clean_restart(tmp_path):
    configuration = press(tmp_path)
    with following_later(tmp_path) as start:
        with serving(configuration) as running:
            _, replica = start()
            teach(running.client, 0, 200)
            good = running.client.snapshot("press").version
            before = running.client.predict("press", ROWS)
            for index in range(100):
                wrong = "ok" if label(index) == "worn" else "worn"
                running.client.learn("press", [row(index)], [wrong])
            bad = running.client.snapshot("press").version
            assert bits(running.client.predict("press", ROWS)) != bits(before)
            done = running.client.rollback("press", good, reason="flipped labels", actor="kim")
            assert done["seq"] == 301
            assert done["published"] == bad + 1
            after = running.client.predict("press", ROWS)
            assert bits(after) == bits(before)
            assert after.seq == 301
            wait_for(lambda: replica.model("press").snapshot == done["published"])
            np.testing.assert_allclose(
                replica.predict("press", ROWS).probabilities,
                before.probabilities,
                rtol=0,
                atol=1e-5,
            )
            manifest = running.client.manifest("press", done["published"])
            assert (manifest["parent"], manifest["cause"]) == (good, "rollback")
            assert manifest["reason"] == "flipped labels"
        with serving(configuration) as running:
            again = running.client.predict("press", ROWS)
            assert (bits(again), again.seq) == (bits(before), 301)
            assert running.client.model("press").raw["champion"] == bad + 1


@contextlib.contextmanager
def following_later(tmp_path):
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(following(tmp_path / "store"))


def test_rollback_to_what_does_not_exist_says_what_does(tmp_path):
    with serving(press(tmp_path)) as running:
        with pytest.raises(Rejected, match=r"404.*among 1\.\.1 \(1 kept\), found 7"):
            running.client.rollback("press", 7, reason="x")
        reply = httpx.post(f"{running.url}/v1/models/press/rollback", json={"version": 1})
        assert reply.status_code == 422
        assert reply.json()["faults"][0]["field"] == "reason"
        assert running.client.model("press").seq == 0


def test_500_swaps_under_concurrent_requests_fail_none_and_mix_no_versions(tmp_path):
    with serving(press(tmp_path)) as running:
        for start in range(0, 30, 10):
            teach(running.client, start, 10)
            running.client.snapshot("press")
        store = running.learner.store
        readings = np.array([[r["temp"], r["flow"]] for r in ROWS], np.float32)
        expected = {
            v: Session(store.read("press", v, "model.onnx")).probabilities(readings).tobytes()
            for v in (2, 3, 4)
        }
        assert len(set(expected.values())) == 3
        with following(tmp_path / "store", poll_s=60) as (replica, _client):
            url = _client.url
            stop = threading.Event()
            failed: list[str] = []
            seen: dict[int, int] = {}

            def ask() -> None:
                with Client(url) as client:
                    while not stop.is_set():
                        answer = client.predict("press", ROWS)
                        seen[answer.snapshot] = seen.get(answer.snapshot, 0) + 1
                        if bits(answer) != expected[answer.snapshot]:
                            failed.append(f"version {answer.snapshot} mixed")

            def guarded() -> None:
                try:
                    ask()
                # Any failed request at all is what this test looks for.
                except Exception as error:
                    failed.append(repr(error))

            threads = [threading.Thread(target=guarded) for _ in range(3)]
            for thread in threads:
                thread.start()
            generation = store.alias("press", "champion").generation
            for swap in range(500):
                version = 2 + swap % 3
                generation = store.set_alias(
                    "press", "champion", version, generation=generation, seq=0
                ).generation
                replica.poll()
                assert replica.models["press"].serving.version == version
            stop.set()
            for thread in threads:
                thread.join()
        assert failed == []
        assert set(seen) == {2, 3, 4}


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json"])
def test_a_damaged_snapshot_is_refused_and_the_version_before_goes_on(tmp_path, file):
    with serving(press(tmp_path)) as running, following(tmp_path / "store", 60) as (replica, c):
        teach(running.client, 0, 5)
        version = running.client.snapshot("press").version
        damage(tmp_path / f"store/models/press/snapshots/{version:08d}/{file}")
        replica.poll()
        answer = c.predict("press", ROWS)
        assert answer.snapshot == 1
        text = httpx.get(f"{c.url}/metrics").text
        assert 'apical_replica_load_failures_total{model="press"} 1.0' in text
        assert 'apical_replica_version{model="press"} 1.0' in text
        assert c.model("press").raw["refused"]["version"] == version


def test_golden_rows_that_disagree_are_refused(tmp_path):
    with serving(press(tmp_path)) as running, following(tmp_path / "store", 60) as (replica, c):
        store = running.learner.store
        teach(running.client, 0, 3)
        taken = running.client.snapshot("press").version
        manifest = store.manifest("press", taken)
        graph = store.read("press", 1, "model.onnx")
        forged = {k: v for k, v in manifest.items() if k not in ("files", "digest", "version")}
        store.publish("press", taken + 1, {"model.onnx": graph}, forged)
        alias = store.alias("press", "champion")
        store.set_alias("press", "champion", taken + 1, generation=alias.generation, seq=3)
        replica.poll()
        assert "golden rows" in c.model("press").raw["refused"]["why"]
        assert c.predict("press", ROWS).snapshot == 1


def test_before_there_is_a_champion_it_is_live_but_not_ready(tmp_path):
    with following(tmp_path / "store", 0.01) as (_, client):
        url = client.url
        assert httpx.get(f"{url}/v2/health/live").status_code == 200
        ready = httpx.get(f"{url}/v2/health/ready")
        assert ready.status_code == 503
        assert ready.headers["retry-after"] == "1"
        with serving(press(tmp_path)):
            wait_for(client.ready)
            assert client.predict("press", ROWS).snapshot == 1


def test_a_named_model_that_has_no_champion_is_503_not_404(tmp_path):
    replica = Replica(SnapshotStore.open(tmp_path / "store"), ["press"], Metrics(), poll_s=60)
    with listening(create_app(replica)) as url, Client(url) as client:
        with pytest.raises(TryAgain, match="no champion to serve yet"):
            client.predict("press", ROWS)
        with pytest.raises(Rejected, match="404"):
            client.predict("other", ROWS)


PROBE = """
import json, resource, sys, threading
sys.argv = ["apical", "replica", "--store", sys.argv[1], "--port", "0"]
from service.cli import main
import service.hosting.uvicorn as running

real = running.create_app

def watched(engine, *args, **more):
    app = real(engine, *args, **more)

    @app.app.get("/probe")
    def probe():
        status = open("/proc/self/status").read()
        rss = next(l for l in status.splitlines() if l.startswith("VmRSS"))
        return {"modules": sorted(sys.modules), "rss_mib": int(rss.split()[1]) / 1024}

    return app

running.create_app = watched
main()
"""


def test_a_replicas_process_never_loads_torch_or_river(tmp_path, capsys):
    with serving(press(tmp_path)) as running:
        teach(running.client, 0, 3)
    process = subprocess.Popen(
        [sys.executable, "-c", PROBE, str(tmp_path / "store")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ},
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        with Client(url) as client:
            wait_for(client.ready)
            assert client.predict("press", ROWS).role == "replica"
        probe = json.loads(httpx.get(f"{url}/probe").content)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
    loaded = {name.split(".")[0] for name in probe["modules"]}
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "river", "scipy", "pandas", "safetensors"}
    with capsys.disabled():
        print(f" [replica: {probe['rss_mib']:.0f} MiB resident]", end="")


class Growing(Followed):
    """A model that another is found beside whenever somebody looks at it, as a poll on another
    thread may find one."""

    replica: Replica

    def __getattribute__(self, name):
        if name in ("serving", "alias"):
            models = self.replica.models
            models[f"new{len(models)}"] = Followed("new", self.replica.watcher)
        return super().__getattribute__(name)


def test_a_model_that_turns_up_while_the_replica_is_looked_at_is_no_error(tmp_path):
    SnapshotStore.open(tmp_path / "store", write=True).close()
    replica = Replica(SnapshotStore.open(tmp_path / "store"), (), Metrics())
    with contextlib.closing(replica.store):
        Growing.replica = replica
        replica.models["press"] = Growing("press", replica.watcher)
        assert "no champion yet" in replica.not_ready
        replica.refresh_metrics()
        assert b"apical_ready 0.0" in replica.metrics.exposition()[0]
