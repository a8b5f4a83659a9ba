"""A log as lines of JSON, and who repeats it without this program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.portability import main as portability
from clients.device import Device, audit
from service.cli import main
from service.history.lessons import Lesson
from service.history.verbs import Order, SetStepSize
from tests.line import teach
from tests.serving import IMMEDIATE, PRESS, label, press, row, serving

SNAPSHOTS = "store/models/press/snapshots"
PROGRAM = Path(__file__).parent.parent.parent / "clients/device.py"


@pytest.fixture
def exported(tmp_path):
    """A folder with four snapshots and `events.jsonl`: lessons, gaps in them, and three verbs."""
    with serving(press(tmp_path, model=IMMEDIATE)) as running:
        teach(running, 0, 12)
        rows = [row(12), {"temp": None, "flow": 5.0}, row(14)]
        running.client.learn("press", rows, [label(12), None, label(14)], batch_id="b")
        running.client.label("press", "b", [None, "worn", None])
        running.client.verb("press", "freeze", reason="x")
        teach(running, 20, 3)
        running.client.verb("press", "thaw", reason="x")
        running.learner.order(Order("press", SetStepSize(0.5), "an engineer", "x")).result()
        teach(running, 30, 10)
        running.client.snapshot("press")
        records = list(running.learner.events.events("press"))
        running.client.rollback("press", 1, reason="x")
        log = str(tmp_path / "log")
        store = repr(str(tmp_path / "store"))
        toml = PRESS.format(store=store, log=repr(log), top="", model=IMMEDIATE)
        (tmp_path / "apical.toml").write_text(toml)
        file = str(tmp_path / "events.jsonl")
        done = CliRunner().invoke(main, ["export", file, "--config", str(tmp_path / "apical.toml")])
        assert done.exit_code == 0, done.output
        assert f"press: {len(records) + 1} events written to" in done.output
    return tmp_path, records


def test_lines_say_all_that_a_replay_needs(exported):
    folder, records = exported
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(records) + 2))
    for line, record in zip(lines, records, strict=False):
        assert (line["kind"], line["received_at"]) == (record.kind, record.received_at)
        if record.kind in ("batch", "late"):
            lesson = Lesson.from_bytes(record.payload)
            assert np.array_equal(np.float32(line["rows"]), lesson.rows, equal_nan=True)
            known = [-1 if label is None else label for label in line["labels"]]
            assert known == lesson.labels.tolist()
    verbs = [(line["kind"], line.get("step_size")) for line in lines if "rows" not in line]
    assert [v for v in verbs if v[0] != "promote"] == [
        ("freeze", None),
        ("thaw", None),
        ("step_size", 0.5),
        ("rollback", None),
    ]
    assert (lines[-1]["snapshot"], lines[-1]["reason"]) == (1, "x")
    assert lines[12]["batch_id"] == lines[13]["batch_id"] == "b"


def test_a_device_repeats_the_log_to_the_bit(exported):
    folder, _ = exported
    versions = sorted(p.name for p in (folder / SNAPSHOTS).iterdir() if p.is_dir())
    places = [str(folder / SNAPSHOTS / v) for v in versions[:2]]
    command = [sys.executable, str(PROGRAM), places[0], str(folder / "events.jsonl"), places[1]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said["difference"] == 0.0
    assert said["equal"] == 1.0
    assert said["rows"] == 12 + 3 + 1 + 3 + 10
    assert said["steps"] == 12 + 2 + 1 + 10


def test_a_device_says_where_it_cannot_go_on(exported):
    folder, _ = exported
    first = folder / SNAPSHOTS / "00000001"
    lines = folder / "events.jsonl"
    with pytest.raises(ValueError, match=r"expected no rollback; go on from snapshot 1"):
        audit(first, lines)
    with pytest.raises(ValueError, match="expected rows between events 0 and 0, found none"):
        audit(first, lines, first)
    device = Device(first)
    with pytest.raises(ValueError, match="expected event 1 next, found 2"):
        device.apply({"seq": 2, "kind": "freeze"})
    assert device.seq == 0


def test_runtimes_stay_together_over_two_hundred_steps(tmp_path):
    assert portability(["--steps", "100", "200", "--json", str(tmp_path / "out.json")]) == 0
    for recipe in json.loads((tmp_path / "out.json").read_text()).values():
        assert recipe["one_step"] < 1e-5
        for steps in ("100", "200"):
            assert recipe[steps]["onnxruntime"] == {"difference": 0.0, "equal": 1.0}
            assert recipe[steps]["torch"]["difference"] < 1e-4
            assert recipe[steps]["torch"]["equal"] == 1.0
