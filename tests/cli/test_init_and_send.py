"""Three commands from a file to the score; stopped, resumed, and used wrongly."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from clients import Client
from model_store.log.log import EventLog
from service.cli.send import _Sent
from service.hosting.process import ServerProcess
from tests.line import wait_for

COMMAND = [sys.executable, "-m", "service.cli"]


def apical(folder, *arguments, status=0):
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if status == 0 else done.stderr


def line_file(folder, rows=2000):
    """Decimal commas, a BOM, missing readings and an error code; labels that can be learned."""
    rng = np.random.default_rng(0)
    said = ["Zeit;Temperatur;Durchfluß (l/min);Zustand"]
    for k in range(rows):
        a, b = rng.normal(), rng.normal()
        at = f"01.03.2026 {k // 3600:02d}:{k // 60 % 60:02d}:{k % 60:02d}"
        temp, flow = f"{60 + 10 * a:.2f}".replace(".", ","), f"{5 + b:.3f}".replace(".", ",")
        chance = rng.random()
        if chance < 0.023:
            temp = "" if chance < 0.02 else "9999"
        said.append(f"{at};{temp};{flow};{'worn' if a + b > 0.5 else 'ok'}")
    text = "\n".join(said)
    path = folder / "line.csv"
    path.write_text(text, encoding="utf-8-sig")
    return path


@pytest.fixture
def poc(tmp_path):
    """A folder with a file and its configuration, and a server that runs it."""
    line_file(tmp_path)
    said = apical(tmp_path, "init", "line.csv", "--target", "Zustand")
    config = tmp_path / "apical.toml"
    config.write_text(config.read_text("utf-8").replace('"apical-data/', f'"{tmp_path}/data/'))
    with ServerProcess(["serve", "--config", str(config)], tmp_path / "stderr") as server:
        server.wait_ready()
        yield tmp_path, server, said


def test_three_commands_lead_from_the_file_to_the_score(poc):
    folder, server, said = poc
    assert "2000 rows, utf-8-sig, cells parted by ';', decimal commas; 2 sensors, 2 classes" in said
    assert "Zeit: it is the time" in said
    assert "is taken for an error code" in said
    assert "apical send line.csv --target Zustand" in said
    out = apical(folder, "send", "line.csv", "--target", "Zustand", "--url", server.url, "--json")
    found = json.loads(out)
    assert found["rows"] == 2000
    assert found["accuracy"] > 0.9 > found["majority_accuracy"]
    assert set(found["f1"]) == {"ok", "worn"}


def test_late_labels_and_the_time_of_a_zone_reach_the_log(poc):
    folder, server, _ = poc
    apical(
        folder, "send", "line.csv", "--target", "Zustand", "--url", server.url, "--line", "L1",
        "--label-delay", "3", "--rows-per-batch", "100", "--zone", "Asia/Tokyo",
    )  # fmt: skip
    server.stop()
    with EventLog.open(folder / "data/log") as log:
        events = list(log.events("line"))
    events = [event for event in events if event.actor is None]  # without the gate's verbs
    assert [event.kind for event in events] == ["late"] * 20
    assert {event.line for event in events} == {"L1"}
    assert events[0].observed_at == pytest.approx(1772290899)  # 00:01:39 in Tokyo


def test_a_send_that_was_stopped_goes_on_and_teaches_nothing_twice(poc):
    folder, server, _ = poc
    arguments = ["send", "line.csv", "--target", "Zustand", "--url", server.url]
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--rate", "400"],
        cwd=folder,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    kept = folder / ".line.csv.line.sent"
    wait_for(lambda: kept.exists() and json.loads(kept.read_text())["rows"] > 100)
    process.kill()
    process.wait()
    apical(folder, *arguments)
    again = apical(folder, *arguments)
    assert "0 labelled rows" in again
    with Client(server.url) as client:
        assert client.model("line").prequential["overall"]["rows"] == 2000
        apical(folder, *arguments, "--again")
        assert client.model("line").prequential["overall"]["rows"] == 4000


def test_wrong_use_is_told(poc, tmp_path):
    folder, server, _ = poc
    send = ["send", "line.csv", "--url", server.url, "--target"]
    said = apical(folder, *send, "Zustan", status=1)
    assert "expected one of the columns ['Zeit', 'Temperatur'," in said
    said = apical(folder, *send, "Temperatur", status=1)
    assert "expected one of the classes ['ok', 'worn'], found" in said
    assert "--zone: expected such as Asia/Tokyo" in apical(
        folder, *send, "Zustand", "--zone", "Asia/Tokio", status=2
    )
    assert "expected a CSV or Parquet file" in apical(
        folder, "send", "none.csv", "--url", server.url, "--target", "x", status=1
    )
    assert "expected --target with one of the columns" in apical(
        folder, "init", "line.csv", "--out", "b.toml", status=2
    )
    assert "apical.toml exists" in apical(
        folder, "init", "line.csv", "--target", "Zustand", status=1
    )
    assert not (folder / "b.toml").exists()


def test_what_is_kept_of_a_file_is_of_that_file(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text("a\n1\n")
    first = _Sent(path, "m", 10, False)
    first.reached(7, save=True)
    assert _Sent(path, "m", 10, False).rows == 7
    assert _Sent(path, "m", 20, False).rows == 0
    assert _Sent(path, "m", 10, True).id(0) != first.id(0)
    path.write_text("a\n2\n")
    assert _Sent(path, "m", 10, False).rows == 0
    (tmp_path / ".f.csv.m.sent").write_text("{")
    assert _Sent(path, "m", 10, False).rows == 0


def test_labels_of_a_second_file_find_their_rows_by_the_key(poc):
    folder, server, _ = poc
    rows = (folder / "line.csv").read_text("utf-8-sig").splitlines()
    numbered = [f"part;{rows[0].rsplit(';', 1)[0]}"]
    labels = ["part;Zustand"]
    for k, line in enumerate(rows[1:]):
        cells, state = line.rsplit(";", 1)
        numbered.append(f"P{k:05d};{cells}")
        labels.append(f"P{k:05d};{state}")
    # They come in another order, some not at all, and some for parts that nobody measured.
    labels[1:] = [line for k, line in enumerate(labels[:0:-1]) if k % 10]
    (folder / "rows.csv").write_text("\n".join(numbered), "utf-8")
    (folder / "labels.csv").write_text("\n".join([*labels, "P99999;ok"]), "utf-8")
    send = ["send", "rows.csv", "--target", "Zustand", "--url", server.url]
    out = apical(folder, *send, "--labels", "labels.csv", "--key", "part", "--json")
    assert json.loads(out)["rows"] == 1800
    with Client(server.url) as client:
        assert client.model("line").prequential["overall"]["rows"] == 1800
    assert "expected both --labels and --key" in apical(
        folder, *send, "--labels", "labels.csv", status=2
    )
    twice = numbered + numbered[-1:]
    (folder / "rows.csv").write_text("\n".join(twice), "utf-8")
    said = apical(folder, *send, "--labels", "labels.csv", "--key", "part", status=1)
    assert "part: expected each key once, found 'P01999' twice" in said
