"""Drift end to end: a reference from the line's own rows, an alarm, and what it does."""

from __future__ import annotations

import contextlib

import httpx
import numpy as np

from clients import Client
from model_store.snapshots.store import SnapshotStore
from service.api.app import create_app
from service.metrics.declared import Metrics
from service.replica.replica import Replica
from tests.line import trail, wait_for
from tests.serving import listening, press, serving


def drift(action="tell", **more):
    keys = {"reference_rows": 1000, "action": action, **more}
    lines = "\n".join(f"{k} = {v!r}".replace("'", '"') for k, v in keys.items())
    return f"[drift]\n{lines}\n"


class Line:
    def __init__(self, client: Client) -> None:
        self.client = client
        self.rng = np.random.default_rng(0)

    def columns(self, rows: int, temp: float = 60.0, stuck: bool = False):
        flow = np.full(rows, 5.0) if stuck else self.rng.normal(5, 1, rows)
        return {"temp": self.rng.normal(temp, 5, rows).tolist(), "flow": flow.tolist()}

    def predict(self, rows: int, **more) -> None:
        for _ in range(rows // 50):
            self.client.predict("press", columns=self.columns(50, **more))

    def teach(self, rows: int, **more) -> None:
        for _ in range(rows // 50):
            columns = self.columns(50, **more)
            labels = ["worn" if t > 60 else "ok" for t in columns["temp"]]
            self.client.learn("press", columns=columns, labels=labels)


def state(client: Client):
    return client.ask("press", "drift")


def raised(client: Client):
    return {(r["kind"], r["feature"]) for r in state(client)["raised"]}


def test_a_shifted_sensor_is_named_and_a_renewed_reference_clears_it(tmp_path):
    with serving(press(tmp_path, top=drift())) as running:
        client, line = running.client, Line(running.client)
        line.predict(500)
        wait_for(lambda: state(client)["collected_rows"] == 500)
        assert state(client)["watched"] is False
        line.predict(500)
        wait_for(lambda: state(client)["watched"])
        line.predict(1000)
        assert raised(client) == set()
        line.predict(500, temp=75.0)
        wait_for(lambda: ("shift", "temp") in raised(client))
        text = httpx.get(f"{running.url}/metrics").text
        assert (
            'apical_drift_alarms_total{feature="temp",kind="shift",model="press",'
            'question="inputs"} 1.0'
        ) in text
        assert 'apical_drift_threshold{feature="temp",kind="shift"' in text
        client.verb("press", "drift/renew", reason="a new material", actor="kim")
        assert state(client)["watched"] is False
        line.predict(1000, temp=75.0)
        wait_for(lambda: state(client)["watched"])
        line.predict(500, temp=75.0)
        assert raised(client) == set()
        last = client.ask("press", "audit")["entries"][-1]
        assert (last["actor"], last["verb"]) == ("kim", "renew_drift")


def test_a_stuck_sensor_is_told_from_one_that_shifted(tmp_path):
    with serving(press(tmp_path, top=drift())) as running:
        line = Line(running.client)
        line.predict(1000)
        wait_for(lambda: state(running.client)["watched"])
        line.predict(500, stuck=True)
        wait_for(lambda: raised(running.client))
        assert ("stuck", "flow") in raised(running.client)
        assert "temp" not in {feature for _, feature in raised(running.client)}


def test_the_reference_is_in_the_manifest_and_survives_restart_and_rollback(tmp_path):
    with serving(press(tmp_path, top=drift())) as running:
        line = Line(running.client)
        line.teach(1000)
        wait_for(lambda: state(running.client)["watched"])
        line.teach(50)
        version = running.client.snapshot("press").version
        reference = running.client.manifest("press", version)["drift_reference"]
        assert reference["rows"] == 1000
        line.predict(500, temp=80.0)
        wait_for(lambda: raised(running.client))
        running.client.rollback("press", version, reason="x")
        line.teach(50)
        wait_for(lambda: not raised(running.client))
        assert state(running.client)["reference_rows"] == 1000
    with serving(press(tmp_path, top=drift())) as running:
        assert state(running.client)["watched"] is True
        assert running.learner.watcher.reference("press") == reference


@contextlib.contextmanager
def following(store):
    replica = Replica(SnapshotStore.open(store), (), Metrics(), poll_s=0.02)
    with listening(create_app(replica)) as url, Client(url) as client:
        yield client


def test_a_replica_watches_inputs_against_the_snapshots_reference(tmp_path):
    with (
        serving(press(tmp_path, top=drift())) as running,
        following(tmp_path / "store") as replica,
    ):
        line = Line(running.client)
        line.teach(1000)
        wait_for(lambda: state(running.client)["watched"])
        line.teach(50)
        running.client.snapshot("press")
        wait_for(lambda: state(replica)["watched"])
        far = Line(replica)
        far.predict(500)
        assert raised(replica) == set()
        far.predict(500, temp=80.0)
        wait_for(lambda: ("shift", "temp") in raised(replica))


def test_an_alarm_can_take_a_snapshot(tmp_path):
    with serving(press(tmp_path, top=drift("snapshot"))) as running:
        line = Line(running.client)
        line.teach(1050)
        wait_for(lambda: state(running.client)["watched"])
        line.teach(500, temp=80.0)
        wait_for(lambda: running.client.snapshots("press")[-1].raw["cause"] == "drift")


def test_an_alarm_can_raise_the_step_size_for_a_while_as_events(tmp_path):
    top = drift("raise_step_size", raise_factor=3.0, raised_rows=400)
    configuration = press(tmp_path, top=top, model="step_size = 0.05")
    with serving(configuration) as running:
        line = Line(running.client)
        line.teach(1050)
        wait_for(lambda: state(running.client)["watched"])
        line.teach(200, temp=80.0)
        wait_for(lambda: running.client.model("press").raw["step_size"] > 0.1)
        wait_for(
            lambda: (
                line.teach(50, temp=80.0) or running.client.model("press").raw["step_size"] == 0.05
            )
        )
        # The publisher writes the trail, some time after the event.
        wait_for(lambda: len(trail(running, "step_size")) >= 2)
        steps = trail(running, "step_size")
        assert [e["actor"] for e in steps[:2]] == ["drift", "drift"]
        assert steps[0]["details"]["automatic"] is True
