"""Backups put back in place: whole, checked first, and never over a log."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from model_store.errors import (
    FormatUnknown,
    LogDamaged,
    LogEndsEarly,
    LogError,
    LogLocked,
    LogRefused,
)
from model_store.log.log import Batch, EventLog, Record
from model_store.log.restore import restore


def event(seq: int, model: str = "press") -> Record:
    return Record(model, seq, "labels", 1e9 + seq, b"%0900d" % seq, b"reply %d" % seq)


BATCH = Batch("press", "b", 1e9, 3, bytes(32), b"rows", b"", b"reply")


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """Of the log in ``log``, which has gone on since, and has pruned before."""
    path = tmp_path / "backup.sqlite3"
    with EventLog.open(tmp_path / "log") as log:
        log.commit([event(seq) for seq in range(1, 41)] + [event(1, "mill")], [BATCH])
        log.prune("press", 5, 2e9)
        log.commit([], [BATCH])
        log.backup(path)
        log.commit([event(41)])
    return path


def names(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


def test_a_restored_backup_is_the_log_that_was_backed_up(tmp_path: Path, backup: Path) -> None:
    backup.chmod(0o400)
    restore(backup, tmp_path / "new")
    assert names(tmp_path) == ["backup.sqlite3", "log", "new"]
    assert names(tmp_path / "new") == ["events.high", "events.lock", "events.sqlite3"]
    with EventLog.open(tmp_path / "new") as log:
        assert list(log.events("press", after=4)) == [event(seq) for seq in range(5, 41)]
        assert (log.verify("press"), log.verify("mill")) == (36, 1)
        assert log.batch("press", "b") == BATCH
        log.commit([event(41), event(2, "mill")])


def test_a_restored_log_that_is_cut_short_afterwards_is_refused(
    tmp_path: Path, backup: Path
) -> None:
    restore(backup, tmp_path / "new")
    with EventLog.open(tmp_path / "empty") as log:
        log.backup(tmp_path / "empty.sqlite3")
    shutil.copy(tmp_path / "empty.sqlite3", tmp_path / "new" / "events.sqlite3")
    with pytest.raises(LogEndsEarly, match="up to seq 40"):
        EventLog.open(tmp_path / "new")


def test_what_was_acknowledged_after_the_backup_is_missed_after_the_restore(
    tmp_path: Path, backup: Path
) -> None:
    (tmp_path / "log" / "events.sqlite3").unlink()
    restore(backup, tmp_path / "log")
    with pytest.raises(LogEndsEarly, match="up to seq 41"):
        EventLog.open(tmp_path / "log")
    with EventLog.open(tmp_path / "log", accept_loss=True) as log:
        assert [(gap.from_seq, gap.to_seq) for gap in log.gaps("press")] == [(41, 41)]
        log.commit([event(42)])


def test_a_log_lost_while_it_was_open_can_be_restored(tmp_path: Path, backup: Path) -> None:
    crashed = tmp_path / "crashed"
    with EventLog.open(tmp_path / "other") as log:
        log.commit([event(1)])
        shutil.copytree(log.path.parent, crashed)
    assert "events.dirty" in names(crashed)
    for suffix in ("", "-wal"):
        (crashed / f"events.sqlite3{suffix}").unlink()
    with pytest.raises(LogRefused):
        EventLog.open(crashed)
    restore(backup, crashed)
    with EventLog.open(crashed) as log:
        assert log.last_seq("press") == 40


@pytest.mark.parametrize(
    "found", ["events.sqlite3", "events.sqlite3-wal", "events.salvaged-1.sqlite3"]
)
def test_a_log_that_is_there_is_left_as_it_is(tmp_path: Path, backup: Path, found: str) -> None:
    directory = tmp_path / "new"
    directory.mkdir()
    (directory / found).write_bytes(b"precious")
    with pytest.raises(LogError, match=rf"new: expected .* without an event log, found {found}"):
        restore(backup, directory)
    assert names(directory) == sorted(["events.lock", found])
    assert (directory / found).read_bytes() == b"precious"


def test_a_log_that_is_open_is_left_as_it_is(tmp_path: Path, backup: Path) -> None:
    with EventLog.open(tmp_path / "log") as log:
        with pytest.raises(LogLocked):
            restore(backup, tmp_path / "log")
        log.commit([event(42)])


def test_a_backup_with_a_flipped_bit_is_refused_or_restored_whole(
    tmp_path: Path, backup: Path
) -> None:
    sound, chosen = backup.read_bytes(), random.Random(7)
    refused = 0
    for attempt in range(40):
        flipped = bytearray(sound)
        flipped[chosen.randrange(len(sound))] ^= 1 << chosen.randrange(8)
        backup.write_bytes(flipped)
        directory = tmp_path / str(attempt)
        try:
            restore(backup, directory)
        except (LogRefused, FormatUnknown) as error:
            assert str(backup) in str(error)  # noqa: PT017
            assert names(directory) == ["events.lock"]
            refused += 1
            continue
        with EventLog.open(directory) as log:
            assert list(log.events("press", after=4)) == [event(seq) for seq in range(5, 41)]
            assert log.batch("press", "b") == BATCH
    assert refused > 10


def test_an_altered_event_or_batch_in_a_backup_is_found(tmp_path: Path, backup: Path) -> None:
    for statement, found in (
        ("UPDATE batches SET labels=x'01'", "batch 'b'"),
        ("UPDATE events SET payload=x'01' WHERE seq=20", "'press', seq 20"),
    ):
        copy = tmp_path / "altered.sqlite3"
        shutil.copy(backup, copy)
        connection = sqlite3.connect(copy)
        connection.execute(statement)
        connection.commit()
        connection.close()
        with pytest.raises(LogDamaged, match=f"altered.*{found}"):
            restore(copy, tmp_path / "new")
        assert names(tmp_path / "new") == ["events.lock"]


def test_what_is_not_a_backup_is_refused(tmp_path: Path, backup: Path) -> None:
    new, other = tmp_path / "new", tmp_path / "other.sqlite3"
    with pytest.raises(FileNotFoundError):
        restore(tmp_path / "absent", new)
    other.touch()
    with pytest.raises(LogDamaged, match="empty file"):
        restore(other, new)
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE events (seq INTEGER)")
    connection.close()
    with pytest.raises(FormatUnknown, match=r"other\.sqlite3"):
        restore(other, new)
    other.write_text("no database at all, though long enough to be read as one" * 100)
    with pytest.raises(LogDamaged, match=r"other\.sqlite3"):
        restore(other, new)
    with EventLog.open(tmp_path / "log") as log:
        log.commit([event(42)])
        with pytest.raises(LogError, match=r"found events\.sqlite3-wal beside it"):
            restore(log.path, new)
