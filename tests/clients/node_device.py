"""`device.mjs` under Node with npm's onnxruntime-web: `make test-device`, which installs it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmarks.portability import by_node, main
from service.history.exported import write_lines
from tests.categories import alloys as casts
from tests.categories.alloys import casting
from tests.line import teach
from tests.serving import IMMEDIATE, press, serving

NPM = Path(os.environ["APICAL_NPM"])


def test_webassembly_learns_what_the_learner_learned(tmp_path):
    said = tmp_path / "out.json"
    assert main(["--steps", "100", "500", "--npm", str(NPM), "--json", str(said)]) == 0
    for recipe in json.loads(said.read_text()).values():
        assert recipe["100"]["onnxruntime_web"]["difference"] < 1e-5
        assert recipe["500"]["onnxruntime_web"]["difference"] < 1e-4
        assert recipe["500"]["onnxruntime_web"]["equal"] >= 0.999


def test_values_of_a_category_are_read_by_name(tmp_path):
    with serving(casting(tmp_path)) as running:
        for k in range(40):
            running.client.learn("cast", [casts.row(k)], [casts.label(k)])
        running.client.snapshot("cast")
        events = running.learner.events.events("cast")
        values = running.learner.models["cast"].schema.values
        write_lines(tmp_path / "events.jsonl", events, values)
    assert '"鋼"' in (tmp_path / "events.jsonl").read_text("utf-8")
    first, second = (tmp_path / f"store/models/cast/snapshots/{version:08d}" for version in (1, 2))
    said = by_node(NPM, first, tmp_path / "events.jsonl", second)
    assert said["difference"] < 1e-5
    assert (said["rows"], said["equal"]) == (40, 1.0)


def test_it_says_which_event_is_missing(tmp_path):
    with serving(press(tmp_path, model=IMMEDIATE)) as running:
        teach(running, 0, 3)
    lines = tmp_path / "events.jsonl"
    lines.write_text('{"seq": 2, "kind": "freeze"}\n')
    snapshot = tmp_path / "store/models/press/snapshots/00000001"
    with pytest.raises(RuntimeError, match="expected event 1 next, found 2"):
        by_node(NPM, snapshot, lines)
    lines.write_text("")
    assert by_node(NPM, snapshot, lines) == {"seq": 0, "steps": 0, "rows": 0}
