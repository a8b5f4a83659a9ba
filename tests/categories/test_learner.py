"""A learner with a category: what it stores, what replicas answer, and what a restart, a replay, a
rebase and a device make of its log."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from clients import Client
from clients.device import Device, audit
from model_store.snapshots.store import SnapshotStore
from service.api.app import create_app
from service.cli import main
from service.config.file import parse
from service.errors import ConfigurationError
from service.history.lessons import Lesson
from service.metrics.declared import Metrics
from service.publishing.taking import load_state
from service.replica.replica import Replica
from service.state import same
from tests.categories.alloys import ALLOYS, MODEL, WRITTEN, casting, label, row
from tests.line import wait_for
from tests.serving import listening, serving

ROWS = [{**row(k), "alloy": (*ALLOYS, None)[k % 4]} for k in range(24)]
SNAPSHOTS = f"store/models/{MODEL}/snapshots"


def teach(client, start, count):
    for k in range(start, start + count):
        client.learn(MODEL, [row(k)], [label(k)], batch_id=f"b{k}")


def command(folder, *arguments, status=0):
    places = {"store": repr(str(folder / "store")), "log": repr(str(folder / "log"))}
    path = folder / "apical.toml"
    path.write_text(WRITTEN.format(**places, top="", model="", alloy=""), "utf-8")
    done = CliRunner().invoke(main, [*arguments, "--config", str(path)])
    assert done.exit_code == status, done.output
    return done.output


def test_only_the_alloy_tells_and_it_is_learned(tmp_path):
    with serving(casting(tmp_path)) as running:
        teach(running.client, 0, 300)
        said = running.client.predict(MODEL, ROWS)
        right = [
            told == ("scrap" if r["alloy"] == "AlSi12" else "ok")
            for told, r in zip(said.predictions, ROWS, strict=True)
        ]
        assert sum(right) >= 22
        score = running.client.model(MODEL).prequential["window"]
        assert score["accuracy"] > 0.85 > score["majority_accuracy"]


@pytest.mark.parametrize("kernel", ["onnx", "torch"])
def test_snapshots_are_proved_and_replicas_answer_alike(tmp_path, kernel):
    model = f'kernel = "{kernel}"'
    with serving(casting(tmp_path, model=model)) as running:
        teach(running.client, 0, 40)
        version = running.client.snapshot(MODEL).version
        live = running.client.predict(MODEL, ROWS)
        manifest = running.client.manifest(MODEL, version)
        assert running.client.ask(MODEL, "verify")["problems"] == []
        changes = running.client.ask(MODEL, f"snapshots/1/diff/{version}")
    assert manifest["schema"]["features"][1]["values"] == list(ALLOYS)
    assert manifest["learning"]["values"] == [0, 3, 0]
    assert manifest["proved_by"] == "torch"
    assert manifest["step"]["parity"]["max_abs_diff"] < 1e-5
    indices = {golden[1] for golden in manifest["golden"]["rows"]}
    assert indices - {None} == {0.0, 1.0, 2.0}
    assert list(changes["features"]) == ["temp", "pressure"]
    replica = Replica(SnapshotStore.open(tmp_path / "store"), (), Metrics(), poll_s=0.01)
    with listening(create_app(replica)) as url, Client(url) as client:
        wait_for(client.ready)
        copy = client.predict(MODEL, ROWS)
        assert copy.snapshot == version
        np.testing.assert_allclose(copy.probabilities, live.probabilities, rtol=0, atol=1e-5)
        unknown = client.predict(MODEL, [{**ROWS[0], "alloy": "Cu"}])
        assert unknown.replaced == {"out_of_range": {"alloy": 1}}
        assert client.model(MODEL).features[1]["values"] == list(ALLOYS)


def test_a_restart_replays_to_the_bit_and_remembers_batches(tmp_path):
    with serving(casting(tmp_path)) as running:
        teach(running.client, 0, 30)
        before = running.learner.models[MODEL].published
        records = list(running.learner.events.events(MODEL))
    (at,) = {k for k in range(11) if row(k)["alloy"] is None}
    kept = [Lesson.from_bytes(record.payload).rows[0, 1] for record in records[:11]]
    # An index in the log, and nothing where nothing was said.
    assert [int(k) for k in kept[:10]] == [ALLOYS.index(row(k)["alloy"]) for k in range(10)]
    assert np.isnan(kept[at])
    newest = tmp_path / SNAPSHOTS / "00000002"
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    with serving(casting(tmp_path)) as running:
        assert same(running.learner.models[MODEL].published, before)
        seq = running.client.model(MODEL).seq
        teach(running.client, 0, 30)
        assert running.client.model(MODEL).seq == seq


def test_late_labels_bring_their_rows_along(tmp_path):
    with serving(casting(tmp_path)) as running:
        said = running.client.label(MODEL, "elsewhere", ["scrap"], rows=[row(1)])
        assert said.learned == [True]
        running.client.predict(MODEL, [row(2)], batch_id="here")
        assert running.client.label(MODEL, "here", ["ok"]).learned == [True]
        kept = [
            Lesson.from_bytes(record.payload).rows[0, 1]
            for record in running.learner.events.events(MODEL)
        ]
    assert kept == [ALLOYS.index(row(1)["alloy"]), ALLOYS.index(row(2)["alloy"])]


def test_a_rebase_and_a_rollback_learn_values_again(tmp_path):
    with serving(casting(tmp_path)) as running:
        teach(running.client, 0, 10)
        running.client.snapshot(MODEL)
        wanted = None
        with serving(casting(tmp_path / "other")) as other:
            teach(other.client, 0, 10)
            teach(other.client, 15, 10)
            wanted = other.learner.models[MODEL].published
        teach(running.client, 10, 15)
        running.client.verb(MODEL, "rebase", without=[[11, 15]], reason="bad labels")
        wait_for(lambda: running.client.ask(MODEL, "rebase")["state"] == "done")
        found = running.learner.models[MODEL].published
        assert same(found._replace(seq=wanted.seq), wanted)
        running.client.rollback(MODEL, 2, reason="x")
        assert running.client.predict(MODEL, ROWS).predictions


def test_replay_and_export_from_the_command_line(tmp_path):
    with serving(casting(tmp_path)) as running:
        teach(running.client, 0, 20)
        running.client.learn(MODEL, [row(20), row(21), row(22)], ["ok", None, "scrap"])
        running.client.snapshot(MODEL)
        said = command(tmp_path, "replay", "--compare", "2", "--from", "1")
        assert "bitwise the state of snapshot 2" in said
        file = tmp_path / "events.jsonl"
        command(tmp_path, "export", str(file))
        stored = load_state(running.learner.store, MODEL, 2)
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    said = [r[1] for line in lines if "rows" in line for r in line["rows"]]
    assert said == [row(k)["alloy"] for k in range(23)]
    first, second = (tmp_path / SNAPSHOTS / f"{version:08d}" for version in (1, 2))
    found = audit(first, file, second)
    assert (found["difference"], found["equal"], found["rows"]) == (0.0, 1.0, 23)
    device = Device(first)
    for line in lines:
        device.apply(line)
    assert device.steps == stored.steps
    assert np.isnan(device.rows([[1.0, "Cu", None]])[0, 1:]).all()


def test_an_export_by_a_configuration_of_fewer_values_is_refused(tmp_path):
    with serving(casting(tmp_path)) as running:
        running.client.learn(MODEL, [{**row(0), "alloy": "鋼"}], ["ok"])
    path = tmp_path / "other.toml"
    places = {"store": repr(str(tmp_path / "store")), "log": repr(str(tmp_path / "log"))}
    text = WRITTEN.format(**places, top="", model="", alloy="")
    path.write_text(text.replace(', "鋼"', ""), "utf-8")
    export = ["export", str(tmp_path / "x.jsonl"), "--config", str(path)]
    done = CliRunner().invoke(main, export)
    assert done.exit_code == 1
    assert "event 1: expected the value of sensor 1 to be one of the configuration's 2" in (
        done.output
    )
    assert not (tmp_path / "x.jsonl").exists()


def test_other_values_are_another_network(tmp_path):
    with serving(casting(tmp_path)) as running:
        teach(running.client, 0, 3)
    changed = WRITTEN.replace('"AlSi9", "AlSi12"', '"AlSi12", "AlSi9"')
    places = {"store": repr(str(tmp_path / "store")), "log": repr(str(tmp_path / "log"))}
    for text in (changed, WRITTEN.replace('"鋼"', '"鋼", "Cu"')):
        other = parse(text.format(**places, top="", model="", alloy=""))
        with (
            pytest.raises(ConfigurationError, match=r"another network.*'AlSi9'"),
            serving(other),
        ):
            pass
    # What a value that is none of them counts as changes freely.
    with serving(casting(tmp_path, alloy='out_of_range = "reject"')) as running:
        assert running.client.model(MODEL).features[1]["out_of_range"] == "reject"
