"""A short round of `benchmarks.soak`: nothing fails, nothing is lost, nothing is left open."""

from __future__ import annotations

import json

from benchmarks.soak import growth, main, slope_per_hour


def test_a_short_round(tmp_path):
    path = tmp_path / "out.json"
    main(["--minutes", "0.2", "--seed", "7", "--json", str(path)])
    found = json.loads(path.read_text())
    assert found["found"] == []
    assert (found["errors_5xx"], found["unreachable"]) == (0, 0)
    assert found["replay_equal"] is True
    assert found["events"] > 50
    # So short a round is all warm-up: connections still come.
    assert abs(found["fds_growth"]) <= 12


def test_growth_is_seen():
    samples = [{"at": t, "rss_mib": 100 + t / 36, "fds": 10 + t // 20} for t in range(100)]
    assert abs(slope_per_hour(samples, "rss_mib") - 100) < 1e-6
    assert growth(samples, "fds") > 1
