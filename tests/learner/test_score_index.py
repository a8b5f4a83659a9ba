"""Errors by time and line find the bad hour, and the events to unlearn."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from clients import Rejected
from service.cli import main
from tests.serving import label, press, row, serving

HOUR = "2026-03-01T{:02d}:{:02d}:00Z"


def other(of):
    return "worn" if of == "ok" else "ok"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Three hours of two lines, 40 rows each; L2's labels are wrong in the second hour."""
    with serving(press(tmp_path_factory.mktemp("index"))) as started:
        for k in range(120):
            hour, minute = divmod(k, 40)
            for line in ("L1", "L2"):
                said = label(k) if (line, hour) != ("L2", 1) else other(label(k))
                started.client.learn(
                    "press", [row(k)], [said], line=line, observed_at=HOUR.format(hour, minute)
                )
        started.client.predict("press", [row(1), row(2)], batch_id="late", line="L1")
        started.client.label("press", "late", [other(label(1)), None], line="L1")
        yield started


def asked(running, **query):
    return running.client.ask("press", "events", **query)


def test_the_bad_hour_of_the_bad_line_stands_out(running):
    found = asked(running, every_s=3600, observed=True)
    assert found["left_out"] == 0
    by = {(s["since"] % 86400 // 3600, s["line"]): s for s in found["stretches"]}
    worst = max(by, key=lambda key: by[key]["error_ratio"] if by[key]["rows"] > 10 else 0)
    assert worst == (1, "L2")
    bad = by[worst]
    assert bad["rows"] == bad["scored"] == 40
    assert bad["error_ratio"] > 0.5
    # Exactly the events of that hour lie between the two that it names.
    assert (bad["first_seq"], bad["last_seq"]) == (82, 160)
    events = list(running.learner.events.events("press", 81, 160))
    assert sum(e.line == "L2" for e in events) == 40


def test_it_is_what_was_scored(running):
    found = asked(running, every_s=86400, observed=True)["stretches"]
    overall = running.client.model("press").prequential["overall"]
    errors = sum(s["errors"] for s in found)
    assert sum(s["scored"] for s in found) == overall["rows"] == 241
    assert errors == round((1 - overall["accuracy"]) * overall["rows"])


def test_times_and_lines_narrow_it(running):
    one = asked(running, every_s=600, observed=True, since=HOUR.format(1, 0), line="L2",
                until=HOUR.format(1, 30))  # fmt: skip
    assert [s["rows"] for s in one["stretches"]] == [10, 10, 10]
    assert {s["line"] for s in one["stretches"]} == {"L2"}
    assert len(asked(running, every_s=86400)["stretches"]) == 2
    with pytest.raises(Rejected, match="since: expected"):
        asked(running, since="yesterday")
    with pytest.raises(Rejected, match="every_s"):
        asked(running, every_s=0)


def test_the_command_shows_it(running):
    done = CliRunner().invoke(
        main,
        ["events", "--url", running.url, "--every", "3600", "--observed", "--worst", "2"],
    )
    assert done.exit_code == 0, done.output
    assert "82..160" in done.output
    assert "█" * 10 in done.output
    assert "apical snapshots rebase --without A..B" in done.output
    none = CliRunner().invoke(
        main, ["events", "--url", running.url, "--since", "2030-01-01T00:00:00Z"]
    )
    assert "no labelled event in that time" in none.output
