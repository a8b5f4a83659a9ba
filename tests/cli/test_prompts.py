"""On a terminal a verb shows what it would hit and asks; in a pipe it asks nothing."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from tests.line import teach, trail
from tests.serving import press, serving


def typed(running, answer, *words):
    """The command on a terminal of its own, and what somebody types; status and output."""
    host, guest = pty.openpty()
    command = [sys.executable, "-m", "service.cli", "snapshots", *words, "--url", running.url]
    process = subprocess.Popen(
        command, stdin=guest, stdout=guest, stderr=guest, env={**os.environ, "TERM": "dumb"}
    )
    os.close(guest)
    said = b""
    sent = False
    while True:
        try:
            more = os.read(host, 4096)
        except OSError:  # its other end is closed
            break
        if not more:
            break
        said += more
        if b"[y/N]" in said and not sent:
            os.write(host, answer.encode() + b"\n")
            sent = True
    os.close(host)
    return process.wait(30), said.decode()


@pytest.fixture
def running(tmp_path):
    with serving(press(tmp_path)) as started:
        teach(started, 0, 30)
        started.client.snapshot("press")
        yield started


@pytest.mark.parametrize("words", [
    ("rollback", "1", "--reason", "x"), ("promote", "1", "--reason", "x"), ("prune",),
    ("rebase", "--without", "5..6", "--reason", "x"),
])  # fmt: skip
def test_no_changes_nothing_and_tells_what_would_have_been_done(running, words):
    before = len(trail(running))
    status, said = typed(running, "n", *words)
    assert status == 1
    assert "would do, nothing was changed:" in said
    assert f"press: {words[0]}? [y/N]" in said
    assert len(trail(running)) == before


def test_yes_does_it_and_yes_beforehand_asks_nothing(running):
    status, said = typed(running, "y", "promote", "1", "--reason", "x")
    assert (status, "snapshot 1 is champion" in said) == (0, True)
    status, said = typed(running, "", "rollback", "1", "--reason", "x", "--yes")
    assert (status, "[y/N]" in said) == (0, False)
    assert "the state of snapshot 1 is live again" in said


def test_a_pipe_is_asked_nothing(running):
    command = [sys.executable, "-m", "service.cli", "snapshots", "rollback", "1", "--reason", "x"]
    done = subprocess.run(
        [*command, "--url", running.url], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "[y/N]" not in done.stdout


def test_a_rebase_says_that_the_model_is_still_frozen(running):
    running.client.verb("press", "freeze", reason="looking")
    status, said = typed(running, "y", "rebase", "--without", "5..6", "--reason", "x")
    assert status == 0, said
    assert "2 lessons (2 rows) unlearned" in said
    assert "it is still frozen" in said
