"""One screen about a model, and what to do next."""

from __future__ import annotations

import json
import subprocess
import sys

from click.testing import CliRunner

from model_store.snapshots.store import SnapshotStore
from service.api.app import create_app
from service.cli import main
from service.cli.status import ago, next_steps
from service.metrics.declared import Metrics
from service.replica.replica import Replica
from tests.line import teach, wait_for
from tests.serving import listening, press, serving


def status(url, *more):
    done = CliRunner().invoke(main, ["status", "--url", url, *more])
    assert done.exit_code == 0, done.output
    return done.output


def test_it_tells_what_a_model_does_and_what_to_do(tmp_path):
    with serving(press(tmp_path)) as running:
        said = status(running.url)
        assert f"press: learner at {running.url}, event 0" in said
        assert "score       no label has come yet" in said
        assert "it has learned nothing yet" in said
        assert "next        send labelled rows" in said
        teach(running, 0, 80)
        running.client.snapshot("press")
        said = status(running.url)
        assert "learning    yes" in said
        assert "champion    snapshot 2 of" in said
        assert "0 events behind" in said
        assert "of the last 80 labelled rows right; saying the last label again" in said
        assert "next" not in said
        running.client.verb("press", "quarantine", line="L7", reason="odd labels")
        running.client.verb("press", "freeze", reason="the shift guesses", actor="chief")
        said = status(running.url)
        assert "no, frozen since" in said
        assert "by chief: the shift guesses; in quarantine: L7" in said
        assert "`apical snapshots thaw" in said
        assert "`apical snapshots release LINE" in said
        found = json.loads(status(running.url, "--json"))
        assert found["model"]["frozen"] is True
        replica = Replica(SnapshotStore.open(tmp_path / "store"), (), Metrics(), poll_s=0.02)
        with listening(create_app(replica)) as url:
            wait_for(lambda: replica.not_ready is None)
            said = status(url)
            assert "press: replica at" in said
            assert "when that was taken: " in said
            assert "learning" not in said


def test_watch_tells_it_again_as_it_is_by_then(tmp_path):
    with serving(press(tmp_path)) as running:
        command = [sys.executable, "-m", "service.cli", "watch", "--every", "0.2"]
        with subprocess.Popen(
            [*command, "--url", running.url], stdout=subprocess.PIPE, text=True
        ) as watching:
            assert watching.stdout is not None
            assert "press: learner at" in watching.stdout.readline()
            teach(running, 0, 3)
            for line in watching.stdout:
                if "event 3" in line:
                    break
            else:
                raise AssertionError("it ended before it told of the third event")
            watching.kill()


def test_steps_come_in_their_order_and_name_commands():
    steps = list(
        next_steps(
            {
                "model": {
                    "role": "learner", "blocked": "the bucket", "frozen": True,
                    "quarantined": ["a"], "status": "untrained", "warning": "worse",
                },
                "drift": {"raised": [{"question": "inputs"}]},
            }
        )
    )  # fmt: skip
    assert len(steps) == 7
    assert "store reachable" in steps[0]
    assert "apical drift renew" in steps[-1]


def test_how_long_ago():
    assert ago(-5) == "0 seconds ago"
    assert [ago(s) for s in (90, 600, 8000, 4e5)] == [
        "90 seconds ago",
        "10 minutes ago",
        "2 hours ago",
        "5 days ago",
    ]
