"""Wrong use, on purpose: clear errors, and nothing lost by it."""

from __future__ import annotations

import json
import shutil
import socket
import time

import httpx
import pytest
from click.testing import CliRunner

from clients import Rejected, TryAgain
from model_store.snapshots.store import SnapshotStore
from service.api.app import create_app
from service.cli import main
from service.metrics.declared import Metrics
from service.replica.replica import Replica
from tests.line import teach
from tests.serving import listening, press, row, serving

STILL = {"temp": 70.0, "flow": 2.0}
GATE = 'promotion = "gate"\nprobation_rows = 50\nguard = "off"'

JSON = {"content-type": "application/json"}


def apical(*arguments, status=0):
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == status, done.output
    return done.output


def test_a_line_that_stands_still_can_be_judged_stored_and_started_again(tmp_path):
    with serving(press(tmp_path, model=GATE)) as running:
        running.client.learn("press", [STILL], ["ok"])
        running.client.snapshot("press")
        for _ in range(5):
            running.client.learn("press", [STILL] * 50, ["ok"] * 50)
        running.client.snapshot("press")
        verdicts = [
            e for e in running.client.ask("press", "audit")["entries"] if e["actor"] == "gate"
        ]
        assert verdicts
        seq = running.client.model("press").seq
    with serving(press(tmp_path, model=GATE)) as running:
        assert running.client.model("press").seq == seq
        running.client.learn("press", [STILL], ["ok"])
        running.client.snapshot("press")


@pytest.mark.parametrize("field", ["line", "batch_id"])
def test_text_that_cannot_be_stored_is_refused_and_the_writer_lives(tmp_path, field):
    with serving(press(tmp_path)) as running:
        start = '{"rows": [{"temp": 1}], "labels": ["ok"]'
        body = f'{start}, "{field}": "\\ud800"}}'
        reply = httpx.post(f"{running.url}/v1/models/press/batches", content=body, headers=JSON)
        assert reply.status_code == 400
        teach(running, 0, 1)


def test_a_verb_is_refused_before_its_event_where_the_trail_cannot_be_written(tmp_path):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 10)
    entry = sorted((tmp_path / "store/models/press/audit").iterdir())[-1]
    entry.write_bytes(entry.read_bytes().replace(b"apical", b"nobody"))
    with serving(press(tmp_path)) as running:
        before = running.client.model("press").seq
        with pytest.raises(TryAgain, match=entry.name):
            running.client.rollback("press", 1, reason="x")
        assert running.client.model("press").seq == before


def test_a_lost_champion_is_who_the_trail_says_not_an_unproven_candidate(tmp_path):
    model = 'promotion = "gate"\nguard = "off"'
    with serving(press(tmp_path, model=model)) as running:
        teach(running, 0, 10)
        running.client.snapshot("press")
        assert running.client.model("press").raw["champion"] == 1
    (tmp_path / "store/models/press/aliases/champion.json").unlink()
    with serving(press(tmp_path, model=model)) as running:
        assert running.client.model("press").raw["champion"] == 1


def test_a_replica_notices_that_the_store_was_replaced(tmp_path):
    with serving(press(tmp_path / "a")) as running:
        teach(running, 0, 1)
    with serving(press(tmp_path / "b", model="seed = 9")) as running:
        teach(running, 0, 1)
    shutil.copytree(tmp_path / "a/store", tmp_path / "store")
    replica = Replica(SnapshotStore.open(tmp_path / "store"), (), Metrics(), poll_s=60)
    replica.poll()
    first = replica.models["press"].serving
    shutil.rmtree(tmp_path / "store")
    replica.poll()
    assert replica.models["press"].serving is first
    assert b"apical_replica_poll_failures_total 1.0" in replica.metrics.exposition()[0]
    shutil.copytree(tmp_path / "b/store", tmp_path / "store")
    replica.poll()
    second = replica.models["press"].serving
    assert (second.version, second.seq) == (first.version, first.seq)
    assert second.manifest.digest != first.manifest.digest
    replica.store.close()


def test_nothing_is_acknowledged_into_a_deleted_log(tmp_path):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 3)
        moved = tmp_path / "moved"
        (tmp_path / "log").rename(moved)
        with pytest.raises(TryAgain, match="nothing was learned"):
            teach(running, 0, 1)
        assert httpx.get(f"{running.url}/v2/health/ready").status_code == 503
        assert running.client.predict("press", [row(1)]).seq == 3
        moved.rename(tmp_path / "log")
        deadline = time.monotonic() + 20
        while not running.client.ready():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        teach(running, 0, 1)
        assert running.client.model("press").seq == 4


def test_what_a_verb_does_not_honour_it_does_not_take(tmp_path):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 2)
        with pytest.raises(Rejected, match="dry_run"):
            running.client.verb("press", "snapshot", dry_run=True)
        with pytest.raises(Rejected, match="keep: expected true or false, found none"):
            running.client.verb("press", "snapshots/1/keep", reason="x")
        assert len(running.client.snapshots("press")) == 1


def test_a_client_that_hangs_up_in_its_body_is_no_error_of_the_server(tmp_path):
    with serving(press(tmp_path)) as running:
        host, port = running.url.removeprefix("http://").split(":")
        for _ in range(5):
            with socket.create_connection((host, int(port))) as line:
                line.sendall(
                    b"POST /v1/models/press/batches HTTP/1.1\r\nHost: localhost\r\n"
                    b"Content-Type: application/json\r\n"
                    b'Content-Length: 1000\r\n\r\n{"rows"'
                )
        teach(running, 0, 1)
        deadline = time.monotonic() + 10
        series = 'apical_requests_total{code="400"'
        while series not in httpx.get(f"{running.url}/metrics").text:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert 'code="500"' not in httpx.get(f"{running.url}/metrics").text


def test_commands_before_there_is_anything_say_so_in_one_line(tmp_path):
    config = tmp_path / "apical.toml"
    apical("init", str(config))
    config.write_text(config.read_text().replace("apical-data", str(tmp_path / "data")))
    for command in (
        ["replay"],
        ["export", str(tmp_path / "e.parquet")],
        ["backup", str(tmp_path / "copy")],
    ):
        said = apical(*command, "--config", str(config), status=1)
        assert "expected an event log, found none" in said
        assert "Traceback" not in said
    assert not (tmp_path / "copy").exists()
    said = apical("snapshots", "verify", "--store", str(tmp_path / "nowhere"), status=1)
    assert "expected a store" in said
    assert "expected a configuration file" in apical("serve", "--config", str(tmp_path), status=1)
    assert "no learner at http://127.0.0.1:9: is `apical serve` running?" in apical(
        "snapshots", "list", "--url", "http://127.0.0.1:9", status=1
    )


def test_a_wrong_feature_is_named_without_its_surroundings(tmp_path):
    config = tmp_path / "apical.toml"
    config.write_text(
        '[[models]]\nname = "m"\nclasses = ["a", "b"]\n'
        '[[models.features]]\nname = "t"\nrange = [5, 1]\n'
    )
    said = apical("serve", "--config", str(config), status=1)
    assert "low < high" in said
    assert "too_short" not in said
    assert "at least 1 item" not in said


def test_tables_are_whole_where_they_go_to_a_pipe(tmp_path):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 2)
        running.client.snapshot("press")
        said = apical("snapshots", "list", "--url", running.url)
        assert "…" not in said
        assert "Z " in said
        with_replica = Replica(SnapshotStore.open(tmp_path / "store"), (), Metrics(), poll_s=60)
        with listening(create_app(with_replica)) as url:
            time.sleep(0.2)
            assert "a replica holds only snapshots" in apical(
                "snapshots", "list", "--url", url, status=1
            )


def test_problem_documents_are_documented_as_what_they_are(tmp_path):
    with serving(press(tmp_path)) as running:
        document = httpx.get(f"{running.url}/openapi.json").json()
        answers = document["paths"]["/v1/models/{model}/batches"]["post"]["responses"]
        assert list(answers["422"]["content"]) == ["application/problem+json"]
        assert "Problem" in document["components"]["schemas"]
        assert json.dumps(document).count("#/components/schemas/FaultDocument")
