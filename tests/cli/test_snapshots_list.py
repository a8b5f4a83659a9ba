"""The list of snapshots at three in the morning: what is untrained, who taught, what was done."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
from fcntl import ioctl
from termios import TIOCSWINSZ

import pytest
from click.testing import CliRunner

from service.cli import main
from service.history.verbs import Alarm, Order
from tests.line import teach, wait_for
from tests.serving import press, serving


@pytest.fixture
def running(tmp_path):
    """Six snapshots: born; taught by two lines; by one, behind an alarm; rolled back; taught by
    rows that name no line, some while it was frozen; and rebased."""
    with serving(press(tmp_path, model='promotion = "manual"')) as running:
        client = running.client
        teach(running, 0, 30, line="press-3")
        teach(running, 30, 12, line="press-4")
        client.snapshot("press")
        alarm = Order("press", Alarm(), "guard", "the labels stopped teaching", automatic=True)
        running.learner.order(alarm).result(10)
        teach(running, 42, 5, line="press-3")
        client.snapshot("press")
        client.verb("press", "promote", version=3, reason="hold this one", actor="kim")
        client.rollback("press", 2, reason="fixture swapped", actor="anna")
        client.verb("press", "freeze", reason="look", actor="anna")
        teach(running, 50, 4)
        client.verb("press", "thaw", reason="looked", actor="anna")
        teach(running, 54, 6)
        client.snapshot("press")
        client.verb("press", "rebase", without=[[1, 2]], reason="odd", actor="kim")
        wait_for(lambda: client.ask("press", "rebase")["state"] == "done")
        yield running


def listed(running, *more):
    done = CliRunner().invoke(main, ["snapshots", "list", "--url", running.url, *more])
    assert done.exit_code == 0, done.output
    return done.output


def test_each_tells_what_it_is_and_who_taught_it(running):
    found = {s["cause"] + str(s["version"]): s for s in json.loads(listed(running, "--json"))}
    assert list(found) == [
        "birth1", "demand2", "demand3", "rollback4", "demand5", "staged6", "rebase7",
    ]  # fmt: skip
    assert [s["untrained"] for s in found.values()] == [True, *[False] * 6]
    assert [s["standing"] for s in found.values()] == [*[None] * 6, "champion"]
    taught = {
        name: {one["line"]: one["rows"] for one in s["taught"]["lines"]}
        for name, s in found.items()
        if s["cause"] != "staged"
    }
    assert taught == {
        "birth1": {},
        "demand2": {"press-3": 30, "press-4": 12},
        "demand3": {"press-3": 5},
        "rollback4": {},
        # Lessons that came while it was frozen taught nobody.
        "demand5": {"": 6},
        "rebase7": {},
    }
    assert found["demand5"]["taught"]["since"] == found["rollback4"]["seq"]
    (made,) = (d for d in found["rollback4"]["deeds"] if d["about"])
    assert (made["verb"], made["actor"], made["reason"]) == ("rollback", "anna", "fixture swapped")
    assert [(d["verb"], d["about"]) for d in found["demand3"]["deeds"]] == [
        ("alarm", False),
        ("promote", True),
    ]
    assert [d["verb"] for d in found["demand5"]["deeds"]] == ["freeze", "thaw"]


def test_people_read_the_same(running):
    said = listed(running)
    (birth,) = re.findall(r"^ +1 .*$", said, re.M)
    assert "untrained" in birth
    assert "taught by press-3 (30 rows), press-4 (12 rows)" in said
    assert re.search(r"promoted by kim 20.*: hold this one; after alarm by guard; taught by", said)
    assert re.search(r"rolled back by anna 20\S+ \S+: fixture swapped", said)
    assert "after freeze by anna, thaw by anna; taught by no line (6 rows)" in said
    assert re.search(r"champion; rebased by kim 20\S+ \S+: odd", said)


def test_it_is_as_it_was_where_the_index_is_gone(running):
    before = [s.raw for s in running.client.snapshots("press")]
    running.learner.events.path.with_name("events.index.sqlite3").write_bytes(b"gone")
    assert [s.raw for s in running.client.snapshots("press")] == before


def test_what_is_no_longer_in_the_log_is_not_known(running):
    assert running.learner.events.prune("press", 20, 1e12) == 19
    found = json.loads(listed(running, "--json"))
    assert [s["taught"] is None for s in found] == [True, True, *[False] * 5]


@pytest.mark.parametrize("width", [40, 80, 100])
def test_on_a_terminal_nothing_is_cut_short(running, width):
    host, guest = pty.openpty()
    ioctl(guest, TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
    said = ""
    for words in (["list"], ["audit"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "snapshots", *words, "--url", running.url],
            stdin=guest,
            stdout=guest,
            stderr=guest,
            env={**environment, "TERM": "xterm"},
        )
        while process.poll() is None or _more(host):
            if _more(host):
                said += os.read(host, 65536).decode()
    os.close(guest)
    os.close(host)
    said = re.sub(r"\x1b\[[0-9;]*m", "", said)
    assert "…" not in said.replace("head", "").split("entries")[0]
    for word in ("champion", "rollback", "rebase", "anna", "kim", "apical", "3 → 4"):
        assert word in said, word
    if width == 100:
        assert max(map(len, said.splitlines())) <= width


def _more(host):
    """Whether there is something to be read."""
    return bool(select.select([host], [], [], 0.05)[0])
