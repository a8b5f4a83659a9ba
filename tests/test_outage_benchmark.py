"""A short round of `benchmarks.outage`."""

from __future__ import annotations

import json

from benchmarks.outage import main


def test_nothing_is_lost_repeated_or_reordered(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.outage.SERVER_KILLS", 2)
    monkeypatch.setattr("benchmarks.outage.LINE_KILLS", 1)
    path = tmp_path / "out.json"
    assert main(["--rows", "2400", "--refuses-s", "1", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    assert found["batches_sent"] == found["learned_once"] == 60
    assert (found["server_kills"], found["line_kills"]) == (2, 1)
