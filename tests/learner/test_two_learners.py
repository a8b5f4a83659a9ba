"""Two learners race for one store: one wins cleanly, the other says so and stops."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from clients import ApicalClientError, Client
from model_store.backends.kept import RENEW_S
from model_store.snapshots.store import SnapshotStore
from model_store.snapshots.verification import verify
from service.hosting.process import ServerProcess
from tests.bucket import serving_bucket
from tests.line import teach, wait_for
from tests.serving import IMMEDIATE, PRESS, row

READY_S = 60.0


@pytest.fixture(scope="module")
def bucket():
    with serving_bucket("lines") as place:
        yield place


@pytest.fixture(params=["directory", "bucket"])
def store(request, tmp_path):
    if request.param == "directory":
        return str(tmp_path / "store")
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


def arguments(folder: Path, store: str, name: str) -> list[str]:
    """Of a learner with a log of its own."""
    config = folder / f"{name}.toml"
    config.write_text(
        PRESS.format(
            store=repr(store), log=repr(str(folder / f"log-{name}")), top="", model=IMMEDIATE
        )
    )
    return ["serve", "--config", str(config)]


@contextlib.contextmanager
def learner(folder, store, name, *more):
    with ServerProcess([*arguments(folder, store, name), *more], folder / f"{name}.err") as server:
        server.wait_ready(READY_S)
        with Client(server.url) as client:
            yield server, client


def contents(store):
    """Every snapshot's digest, the aliases and the trail, as they are stored."""
    reader = SnapshotStore.open(store)
    found = {v: reader.manifest("press", v)["digest"] for v in reader.versions("press")}
    aliases = reader.aliases("press")
    digests = [entry.digest for entry in reader.audit("press").entries()]
    assert verify(reader, "press") == []
    reader.close()
    return found, aliases, digests


def test_the_second_learner_says_who_holds_the_store_and_stops(tmp_path, store):
    with learner(tmp_path, store, "first") as (server, client):
        teach(client, 0, 5)
        client.snapshot("press")
        before = contents(store)
        more = [*arguments(tmp_path, store, "second"), "--port", "0"]
        if not store.startswith("s3://"):
            # The kernel lets go of a dead process's lock: there is never one to take over.
            more.append("--take-over")
        second = subprocess.run(
            [sys.executable, "-m", "service.cli", *more],
            capture_output=True,
            text=True,
            timeout=READY_S,
        )
        assert second.returncode == 1
        assert f"process {server.process.pid} on" in second.stderr
        assert "open for writing" in second.stderr
        assert "Traceback" not in second.stderr
        assert contents(store) == before
        # The first one does not even notice.
        teach(client, 5, 2)
        assert client.snapshot("press").seq == 7


@pytest.mark.parametrize(
    "verb", ["snapshot", "rollback", pytest.param("rebase", marks=pytest.mark.slow)]
)
def test_a_learner_whose_store_was_taken_over_says_so_and_stops(tmp_path, bucket, verb):
    store = f"{bucket}/{tmp_path.name}"
    with learner(tmp_path, store, "first") as (first, old):
        teach(old, 0, 5)
        old.snapshot("press")
        teach(old, 5, 2)
        # The second starts from what the store has, with a log of its own.
        with learner(tmp_path, store, "second", "--accept-loss", "--take-over") as (second, new):
            taken = contents(store)
            why = {"reason": "test", "actor": "kim"}
            with contextlib.suppress(ApicalClientError):
                match verb:
                    case "snapshot":
                        old.snapshot("press", **why)
                    case "rollback":
                        old.rollback("press", 1, **why)
                    case "rebase":
                        old.verb("press", "rebase", without=[[6, 6]], **why)
            assert first.process.wait(READY_S) == 1
            said = first.tail()
            assert f"process {second.process.pid} on" in said
            assert "open for writing" in said
            assert contents(store) == taken
            teach(new, 7, 3)
            version = new.snapshot("press").version
            found, aliases, _ = contents(store)
            assert max(found) == version
            assert found.items() >= taken[0].items()
            assert {alias.name: alias.version for alias in aliases}["champion"] == version


def test_learner_and_replica_on_a_bucket(tmp_path, bucket):
    store = f"{bucket}/{tmp_path.name}"
    rows = [row(index) for index in range(10)]
    follow = ["replica", "--store", store, "--poll-s", "0.05"]
    with ServerProcess(follow, tmp_path / "replica.err") as server, Client(server.url) as replica:
        with learner(tmp_path, store, "first") as (_, client):
            teach(client, 0, 20)
            good = client.snapshot("press")
            wait_for(lambda: replica.ready() and replica.model("press").snapshot == good.version)
            before = replica.predict("press", rows)
            assert (before.snapshot, before.seq) == (good.version, 20)
            teach(client, 20, 20)
            bad = client.snapshot("press")
            wait_for(lambda: replica.model("press").snapshot == bad.version)
            assert replica.predict("press", rows).probabilities != before.probabilities
            done = client.rollback("press", good.version, reason="test")
            wait_for(lambda: replica.model("press").snapshot == done["published"])
            assert replica.predict("press", rows).probabilities == before.probabilities
            live = client.predict("press", rows)
        # A clean stop lets go of the bucket: the next start need not take anything over.
        with learner(tmp_path, store, "first") as (_, client):
            again = client.predict("press", rows)
            assert (again.probabilities, again.seq) == (live.probabilities, 41)
            assert client.ask("press", "verify")["problems"] == []
            assert replica.model("press").snapshot == client.model("press").raw["champion"]


def test_a_learner_starts_again_after_a_crash_without_being_told_to_take_over(tmp_path, store):
    with learner(tmp_path, store, "first") as (server, client):
        teach(client, 0, 5)
        server.process.kill()
        server.process.wait()
    with learner(tmp_path, store, "first") as (_, client):
        assert client.model("press").seq == 5
        teach(client, 5, 2)
        assert client.snapshot("press").seq == 7


def test_a_learner_that_nobody_asks_notices_that_its_store_was_taken_over(tmp_path, bucket):
    store = f"{bucket}/{tmp_path.name}"
    with learner(tmp_path, store, "first") as (first, _):
        taken = SnapshotStore.open(store, write=True, take_over=True)
        assert first.process.wait(timeout=4 * RENEW_S) == 1
        taken.close()
    assert "has this store open for writing" in (tmp_path / "first.err").read_text()
