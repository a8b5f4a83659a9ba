"""Before anything that has learned is champion: what is served says so, or nothing is."""

from __future__ import annotations

import contextlib

import httpx
import pytest

from clients import Client, TryAgain
from model_store.snapshots.store import SnapshotStore
from service.api.app import create_app
from service.metrics.declared import Metrics
from service.replica.replica import Replica
from tests.learner.test_gate_and_guard import Line
from tests.line import trail, wait_for
from tests.serving import listening, press, row, serving

GATE = """promotion = "gate"
probation_rows = 150
guard_rows = 100
guard = "{}"
snapshot_every_rows = 50
"""


@contextlib.contextmanager
def following(store, **options):
    replica = Replica(SnapshotStore.open(store), (), Metrics(), poll_s=0.01, **options)
    with listening(create_app(replica)) as url, Client(url) as client:
        yield replica, client, url


def described(client):
    return client.model("press").raw


def said(url):
    """The status in the reply to a row: in its header, and in its body."""
    reply = httpx.post(f"{url}/v1/models/press/batches", json={"rows": [row(1)]})
    return reply.headers["apical-status"], reply.json().get("status")


def test_a_replica_serves_the_newest_snapshot_as_untrained_until_there_is_a_champion(tmp_path):
    with (
        serving(press(tmp_path, model=GATE.format("off"))) as running,
        following(tmp_path / "store") as (replica, client, url),
    ):
        wait_for(client.ready)
        assert described(client)["status"] == "untrained"
        assert said(url) == ("untrained", "untrained")
        assert said(running.url) == ("untrained", None)
        assert described(running.client)["status"] == "untrained"
        line = Line(running)
        line.send(60)
        wait_for(lambda: described(client)["snapshot"] == 2)
        assert described(client)["status"] == "untrained"
        assert described(running.client)["status"] == "on probation"
        assert said(running.url) == ("on probation", None)
        assert said(url) == ("untrained", "untrained")
        replica.refresh_metrics()
        text = replica.metrics.exposition()[0].decode()
        assert 'apical_champion_untrained{model="press"} 1.0' in text
        line.send(300)
        wait_for(lambda: described(client)["status"] == "champion")
        champion = described(running.client)["champion"]
        assert champion > 1
        wait_for(lambda: described(client)["snapshot"] == champion)
        assert described(running.client)["status"] == "champion"
        assert said(running.url) == said(url) == ("champion", None)
        replica.refresh_metrics()
        text = replica.metrics.exposition()[0].decode()
        assert 'apical_champion_untrained{model="press"} 0.0' in text


def test_a_replica_that_may_not_serve_what_is_untrained_says_so_and_waits(tmp_path):
    with (
        serving(press(tmp_path, model=GATE.format("off"))) as running,
        following(tmp_path / "store", serve_untrained=False) as (_, client, _),
    ):
        wait_for(lambda: not client.ready())
        with pytest.raises(TryAgain, match="untrained: no snapshot that has learned"):
            client.predict("press", [row(1)])
        Line(running).send(400)
        wait_for(client.ready)
        assert client.predict("press", [row(1)]).snapshot > 1


def test_one_who_is_held_as_champion_by_a_person_is_served(tmp_path):
    with (
        serving(press(tmp_path, model=GATE.format("off"))) as running,
        following(tmp_path / "store") as (_, client, _),
    ):
        running.client.verb("press", "promote", version=1, reason="hold it")
        Line(running).send(60)
        wait_for(client.ready)
        assert (described(client)["snapshot"], described(client)["status"]) == (1, "champion")


def test_labels_at_random_from_the_start_neither_freeze_nor_roll_back_what_never_learned(tmp_path):
    with serving(press(tmp_path, model=GATE.format("rollback"))) as running:
        Line(running).send(1_500, flip=0.5)
        deeds = {entry["verb"] for entry in trail(running)}
        assert not deeds & {"rollback", "freeze"} or described(running.client)["champion"] > 1
        assert described(running.client)["updates"] > 0


def test_a_frozen_model_is_not_rolled_back_once_more(tmp_path):
    model = GATE.format("rollback")
    with serving(press(tmp_path, model=model)) as running:
        line = Line(running)
        line.send(1_000)
        assert described(running.client)["status"] == "champion"
        line.send(600, flip=0.5)
        assert described(running.client)["frozen"]
        assert len(trail(running, "rollback")) == 1
        line.send(2_000, flip=0.5)
        assert len(trail(running, "rollback")) == 1
        assert len(trail(running, "freeze")) == 1
