"""The examples in the docstrings run, and the benchmark writes the figures it promises."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
from pathlib import Path

import pytest

import service.drift
from benchmarks import drift as benchmark

MODULES = [m.name for m in pkgutil.iter_modules(service.drift.__path__, "service.drift.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", ["concept", "inputs", "monitor", "predictions", "reference"])
def test_every_detector_carries_an_example(name: str) -> None:
    module = importlib.import_module(f"service.drift.{name}")
    assert doctest.testmod(module).attempted > 0


def test_the_benchmark_writes_every_figure(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    few = ["--seeds", "1", "--rows", "15000", "--processes", "1"]
    only = ["--only", "monitor", "adwin", "page_hinkley", "always"]
    benchmark.main(["--json", str(path), *few, *only])
    found = json.loads(path.read_text())
    for detector in ("monitor", "adwin", "page_hinkley", "always"):
        assert set(found[detector]["false_alarms_per_10k"]) == set(benchmark.STREAMS)
        for figure in ("detected_fraction", "delay_rows_p50", "delay_rows_p50_ar_09"):
            assert set(found[detector][figure]) == set(benchmark.CHANGES)
    assert found["always"]["false_alarms_per_10k"]["iid"] == 10_000
    assert found["always"]["delay_rows_p50"]["stuck"] == 1
    # What the detectors are for: fewer false alarms than the textbook's on an AR(1) 0.9.
    false = {d: found[d]["false_alarms_per_10k"]["ar_09"] for d in ("monitor", "adwin")}
    assert false["monitor"] < 5 < false["adwin"]
