"""A short round of `make fuzz`."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.fuzz.mutations import mutations


def test_nothing_that_can_be_made_up_breaks_it_or_teaches(tmp_path):
    path = tmp_path / "out.json"
    asked = ["--cases", "70", "--mutations", "600", "--json", str(path)]
    # As a program: schemathesis leaves its connections open.
    done = subprocess.run([sys.executable, "-m", "benchmarks.fuzz", *asked], capture_output=True)
    assert done.returncode == 0, done.stdout
    found = json.loads(path.read_text())
    assert found["cases"]["cases"] >= 70
    assert found["mutations"]["requests"] == 600
    assert found["mutations"]["statuses"]["400"] > 300
    assert found["mutations"]["statuses"]["200"] > 20


def test_the_same_seed_makes_the_same_requests():
    assert list(mutations(3, 50)) == list(mutations(3, 50)) != list(mutations(4, 50))
