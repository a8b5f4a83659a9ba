"""Short rounds of the benchmarks that docs/learning.md quotes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import longrun, step
from benchmarks.streams import __main__ as streams
from benchmarks.streams.data import BLOCKS, PUBLIC, load
from benchmarks.streams.figures import figures
from benchmarks.streams.page import PAGE, page
from benchmarks.streams.passes import METHODS, Task, run


def test_a_short_round_says_all_that_the_page_quotes(tmp_path):
    path = tmp_path / "out.json"
    given = ["--rows", "120", "--seeds", "0", "1", "--streams", "ImageSegments", "press_blocks"]
    # deep-river needs an environment of its own.
    methods = [method for method in METHODS if method != "deep_river"]
    assert streams.main([*given, "--json", str(path), "--methods", *methods]) == 0
    found = json.loads(path.read_text())
    assert set(found["mean_accuracy"]) == set(methods)
    assert set(found["streams"]) == {"ImageSegments", "press_blocks"}
    assert set(found["state_equal"].values()) == {1.0}
    assert found["batch_loss"].keys() == found["state_equal"].keys() == {"5", "20", "32", "100"}
    mean = found["mean_accuracy"]
    assert found["lead_over_previous"] == pytest.approx(
        mean["shipped_default"] - mean["previous_default"]
    )
    assert mean["shipped_default"] > mean["majority"]
    assert found["late"].keys() == {
        "shipped_default",
        "with_rehearsal",
        "previous_default",
        "backprop",
        "softmax",
        "last_label",
    }


def test_every_stream_is_what_it_says(tmp_path):
    for name in (*PUBLIC, *BLOCKS):
        stream = load(name, 1, tmp_path)
        assert len(stream.x) == len(stream.y) > 500
        assert stream.y.min() == 0
        assert len(np.unique(stream.y)) == stream.classes
        again = load(name, 1, tmp_path)
        assert np.array_equal(stream.x, again.x, equal_nan=True)


def test_a_tied_learner_is_no_local_one(tmp_path):
    passes = [
        run(Task(method, "RBF", 3, limit=400, folder=tmp_path))
        for method in ("shipped_default", "backprop_same_aids")
    ]
    assert passes[0].figures != passes[1].figures


def test_figures_of_a_perfect_and_of_a_blind_prediction():
    labels = np.array([0, 1, 1, 0])
    perfect = figures(np.eye(2, dtype=np.float32)[labels], labels)
    assert perfect["accuracy"] == perfect["macro_f1"] == perfect["kappa_temporal"] == 1
    assert perfect["calibration_error"] == 0
    blind = figures(np.tile(np.float32([0.9, 0.1]), (4, 1)), labels)
    assert blind["accuracy"] == 0.5
    assert blind["calibration_error"] == pytest.approx(0.4)
    # Repeating the last label is right once in three.
    assert blind["kappa_temporal"] == pytest.approx((0.5 - 1 / 3) / (2 / 3))


def test_the_page_says_what_the_published_figures_say():
    text = PAGE.read_text("utf-8")
    assert page(text) == text


def test_a_short_long_run(tmp_path):
    path = tmp_path / "out.json"
    assert longrun.main(["--rows", "400", "--cases", "degenerate", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    assert found["p_min_eigenvalue"]["degenerate"] > 0
    assert found["p_asymmetry"]["degenerate"] == 0
    assert found["negative_gain_steps"]["degenerate"] == 0


def test_what_a_step_costs_is_counted(tmp_path):
    path = tmp_path / "out.json"
    assert step.main(["--rows", "20", "--sensors", "3", "80", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    assert found["3"]["ratio"]["plain.torch"] == 1
    # Blocks from 448 inputs on: the state does not grow with the square of the sensors.
    assert found["80"]["state_bytes"]["gain"] < 27 * found["3"]["state_bytes"]["gain"]
