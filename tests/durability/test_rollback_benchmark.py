"""A short round of `benchmarks.rollback`, and that its checks can fail."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.rollback_check import Figures, compare
from benchmarks.rollback_traffic import Heard, Said

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def short_round(tmp_path_factory):
    """Five rollbacks and a rebase: the report, and the files that were left."""
    folder = tmp_path_factory.mktemp("rollback")
    arguments = ["--rollbacks", "5", "--folder", str(folder), "--json", str(folder / "out.json")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.rollback", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (folder / "out.json").exists(), done.stdout + done.stderr
    return json.loads((folder / "out.json").read_text()), folder


def test_rollbacks_and_a_rebase_under_traffic_fail_nothing_and_mix_nothing(short_round):
    report, _ = short_round
    assert report["found"] == []
    wanted = {
        "rollbacks": 5,
        "failed_requests": 0,
        "mixed_versions": 0,
        "state_mismatches": 0,
        "rebase_kept_rollbacks": 5,
    }
    assert {key: report[key] for key in wanted} == wanted
    assert report["rebase_excluded_lessons"] > 16
    assert report["predictions"] > 50
    assert report["versions_seen"] >= 5
    # How many polls that was is measured, not asserted: a test must not depend on the machine.
    assert report["polls_to_all_replicas_p99"] >= 1


def test_an_answer_that_mixes_two_versions_is_found(short_round):
    _, folder = short_round
    true = Said("replica", 2, 40, 0, b"")
    for said in (true, dataclasses.replace(true, role="learner", version=1, seq=7)):
        figures, heard = Figures(), Heard()
        heard.said[said] = 3
        compare(folder, figures, heard)
        assert (figures.mixed_versions, figures.state_mismatches) == (3, 0)


def test_a_learner_that_names_an_event_that_never_was_is_found(short_round):
    _, folder = short_round
    figures, heard = Figures(), Heard()
    heard.said[Said("learner", 1, 10**6, 0, b"")] = 1
    compare(folder, figures, heard)
    assert figures.mixed_versions == 1
