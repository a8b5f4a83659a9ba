"""Times as people say them at three in the morning."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner

from service.cli import main
from service.cli.moments import moment

TOKYO = ZoneInfo("Asia/Tokyo")
NOW = datetime(2026, 3, 3, 3, 30, tzinfo=TOKYO)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("03:12", "2026-03-02T18:12:00"),
        ("3:12:30", "2026-03-02T18:12:30"),
        ("23:00", "2026-03-02T14:00:00"),  # yesterday's, for today's is still to come
        ("2h ago", "2026-03-02T16:30:00"),
        ("90 min ago", "2026-03-02T17:00:00"),
        ("1.5 days ago", "2026-03-01T06:30:00"),
        ("2026-03-01 03:12", "2026-02-28T18:12:00"),
        ("2026-03-01", "2026-02-28T15:00:00"),
        ("2026-03-01T03:12:00", "2026-02-28T18:12:00"),
        ("2026-03-01T03:12:00Z", "2026-03-01T03:12:00"),
        ("2026-03-01T03:12:00+09:00", "2026-02-28T18:12:00"),
    ],
)
def test_what_is_meant(text, meant):
    assert moment(text, NOW) == datetime.fromisoformat(meant).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "25:00", "2h", "-1h ago", "2026-13-01"])
def test_what_is_none_is_told_with_what_would_be(text):
    done = CliRunner().invoke(main, ["events", "--since", text])
    assert done.exit_code == 2
    assert "expected such as 03:12, '2h ago'" in done.output


def test_utc_is_said_back_where_it_was_not_written():
    for text, echoed in (("2026-03-01T03:12:00+09:00", True), ("2026-03-01T03:12:00Z", False)):
        done = CliRunner().invoke(
            main, ["events", "--since", text, "--url", "http://127.0.0.1:9", "--model", "x"]
        )
        said = "--since: 2026-02-28T18:12:00Z" in done.output
        assert said is echoed
