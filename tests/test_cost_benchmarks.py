"""Short rounds of what measures cost, without the peers that need environments of their own."""

from __future__ import annotations

import json
import shutil

import httpx
import pytest

from benchmarks import scale, sizing, updates
from benchmarks.latency import __main__ as latency
from benchmarks.latency.servers import MODEL, PLAIN, apical, configured, teach
from benchmarks.performance_page import PAGES, page


def test_updates_are_compared_with_autograd(tmp_path):
    path = tmp_path / "out.json"
    assert updates.main(["--rounds", "10", "--without-deep-river", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    for case in (found, found["default_9"], found["default_52"]):
        for rows in (1, 32, 256):
            figures = case[f"rows_{rows}"]
            assert figures["ratio_to_autograd"] == pytest.approx(
                figures["us"] / figures["autograd_us"]
            )
            assert figures["us_a_row"] == pytest.approx(figures["us"] / rows)
    assert found["default_9"]["rows_1"]["ratio_to_plain"] > 0


def test_a_quick_look_at_scale(tmp_path):
    path = tmp_path / "out.json"
    assert scale.main(["--quick", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    curves = {"update_parameters", "update_rows", "replay_events", "snapshot_events"}
    assert found["exponents"].keys() == found["points"].keys() == curves | {"models_start"}
    assert found["replica_mib"] > 10
    assert found["replica_swap_ratio"] > 0.5


def test_an_exponent_is_that_of_a_power():
    assert scale.exponent([(n, 3 * n**1.5) for n in (1, 10, 100)]) == pytest.approx(1.5)


def test_what_latency_sends_is_answered_and_learned(tmp_path):
    path = configured(tmp_path, PLAIN.format(rows_per_step=0))
    with apical(["serve", "--config", str(path)], tmp_path / "log.txt") as url:
        teach(url, 50)
        for form in (latency.by_rows, latency.by_columns, latency.labelled):
            answer = httpx.post(
                f"{url}/v1/models/{MODEL}/batches",
                content=latency.bodies(form, 2)[-1],
                headers={"content-type": "application/json"},
            )
            assert answer.is_success, answer.text
        assert answer.json()["learned"] == [True, True]


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed; see make bench")
def test_a_short_round_of_latency(tmp_path):
    path = tmp_path / "out.json"
    without = ["mlserver_inline", "mlserver_default", "default", "replica_columns"]
    given = ["--rounds", "1", "--seconds", "1", "--rows", "1", "--concurrency", "2"]
    assert latency.main([*given, "--without", *without, "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    asked = found["replica_json"]["1"]["2"]
    assert asked["ratio_to_ceiling"] == pytest.approx(
        asked["rps"] / found["ceiling"]["1"]["2"]["rps"]
    )
    assert found["learner_labelled"]["1"]["2"]["p50_ms"] > 0
    assert found["beside_learning"]["ratio"] > 0


def test_a_short_look_at_what_a_line_needs(tmp_path):
    path = tmp_path / "out.json"
    said = ["--rows", "64", "--sensors", "8", "--packed", "1", "32", "--json", str(path)]
    assert sizing.main(said) == 0
    for recipe in json.loads(path.read_text()).values():
        for figures in recipe["8"].values():
            assert figures["cpu_ms_a_row"] * figures["rows_per_core_s"] == pytest.approx(1000)
            assert figures["snapshot_bytes"] > 1000


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_says_what_the_published_figures_say(path):
    assert page(path) == path.read_text("utf-8")
