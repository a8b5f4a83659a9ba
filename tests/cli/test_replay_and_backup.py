"""`apical replay`, `backup` and `restore`, beside a learner that runs."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from service.cli import main
from service.state import same
from service.state.file import from_bytes
from tests.line import teach
from tests.serving import IMMEDIATE, PRESS, press, serving


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "apical.toml").write_text(
        PRESS.format(
            store=repr(str(tmp_path / "store")),
            log=repr(str(tmp_path / "log")),
            top="",
            model=IMMEDIATE,
        )
    )
    return tmp_path


def apical(folder, *arguments, status=0):
    done = CliRunner().invoke(main, [*arguments, "--config", str(folder / "apical.toml")])
    assert done.exit_code == status, done.output
    return done.output


def test_replay_rebuilds_any_past_state_bitwise_beside_a_running_learner(folder):
    with serving(press(folder)) as running:
        teach(running, 0, 10)
        at_ten = running.learner.models["press"].published
        running.client.snapshot("press")
        teach(running, 10, 10)
        running.client.rollback("press", 2, reason="x")
        teach(running, 20, 5)
        running.client.snapshot("press")
        assert "bitwise the state of snapshot 2" in apical(folder, "replay", "--compare", "2")
        assert "bitwise the state of snapshot 4" in apical(
            folder, "replay", "--compare", "4", "--from", "1"
        )
        out = folder / "state.safetensors"
        said = apical(folder, "replay", "--until", "10", "--from", "1", "--out", str(out))
        assert "from snapshot 1 at event 0 to event 10" in said
        assert same(from_bytes(out.read_bytes()), at_ten)
        assert "state at event 26" in apical(folder, "replay")
        assert "expected a snapshot among [1, 2, 3, 4], found 9" in apical(
            folder, "replay", "--compare", "9", status=1
        )


def test_events_are_exported_as_parquet_beside_a_running_learner(folder):
    from pyarrow import parquet

    from service.history.lessons import Lesson

    with serving(press(folder)) as running:
        teach(running, 0, 7)
        assert "press: 5 events written" in apical(
            folder, "export", str(folder / "events.parquet"), "--after", "2"
        )
        teach(running, 7, 1)
    read = parquet.read_table(folder / "events.parquet").to_pylist()
    assert [event["seq"] for event in read] == [3, 4, 5, 6, 7]
    assert Lesson.from_bytes(read[0]["payload"]).rows.shape == (1, 2)


def test_a_backup_taken_while_learning_goes_on_restores_to_an_acknowledged_state(folder):
    with serving(press(folder)) as running:
        teach(running, 0, 12)
        running.client.snapshot("press")
        teach(running, 12, 3)
        saved = running.learner.models["press"].published
        said = apical(folder, "backup", str(folder / "copy"))
        assert "press: 2 snapshots copied and verified" in said
        teach(running, 15, 5)
        assert "expected an empty directory" in apical(
            folder, "backup", str(folder / "copy"), status=1
        )
    assert "expected no store" in apical(folder, "restore", str(folder / "copy"), status=1)
    (folder / "store").rename(folder / "old-store")
    (folder / "log").rename(folder / "old-log")
    assert "press: 2 snapshots restored" in apical(folder, "restore", str(folder / "copy"))
    with serving(press(folder)) as running:
        assert same(running.learner.models["press"].published, saved)
        assert running.client.ask("press", "verify")["problems"] == []
        teach(running, 15, 1)
