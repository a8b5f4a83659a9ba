"""A backup of the event log put back in place."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from model_store.errors import LogError
from model_store.log.chain import read_chains
from model_store.log.database import (
    BATCH_COLUMNS,
    FILE_NAME,
    connect,
    copy_database,
    damaged,
    translated,
    wal_of,
)
from model_store.log.marks import HighWater, Marker, take_lock
from model_store.log.records import is_sealed


def restore(backup: Path, directory: Path) -> None:
    """Make a backup, as `EventLog.backup` writes it, the log of a directory that has none.

    The whole backup is checked first. What ``events.high`` proves to have existed stays proven:
    `EventLog.open` refuses a backup that is older than events acknowledged here, and goes on
    above them with ``accept_loss``.

    Raises
    ------
    FileNotFoundError
        there is no such backup.
    FormatUnknown, LogDamaged
        the backup is not one that can be trusted.
    LogError
        the directory has a log already, or the backup is no single file.
    LogLocked
        a process has the directory's log open.
    LogUnavailable, OSError
        the disk is full or failing.
    """
    if not backup.stat().st_size:
        raise damaged(backup, "expected a backup, found an empty file")
    if (wal := wal_of(backup)).exists() and wal.stat().st_size:
        raise LogError(
            f"{backup}: expected a backup, complete in one file, found {wal.name} beside it:"
            " a copy of a log that was open. Make it with the backup command, or put both files"
            " into a directory and open that."
        )
    directory.mkdir(parents=True, exist_ok=True)
    lock = take_lock(directory / "events.lock")
    try:
        path = directory / FILE_NAME
        _refuse_existing(path)
        # Immutable: it may lie on read-only media, and no -wal or -shm must appear beside it.
        immutable = "ro&immutable=1"
        with translated(backup), contextlib.closing(connect(backup, immutable)) as source:
            last = _check(source, backup)
            high = HighWater(directory / "events.high")
            high.note(last)
            try:
                high.save()
            finally:
                high.close()
            # Of the log that was here before. It goes first: if this dies now, there is still no
            # log, and restoring can be repeated.
            Marker(directory / "events.dirty").remove()
            path.with_name(path.name + "-shm").unlink(missing_ok=True)
            copy_database(source, path)
    finally:
        os.close(lock)


def _refuse_existing(path: Path) -> None:
    unfinished = path.parent.glob("events.salvaged-*.sqlite3")
    for found in (path, wal_of(path), *unfinished):
        if found.exists():
            raise LogError(
                f"{path.parent}: expected a directory without an event log, found {found.name}."
                " Restore into another directory, or move the files of this log away."
            )


def _check(source: sqlite3.Connection, backup: Path) -> dict[str, int]:
    """Every page, event and batch; the last ``seq`` of each model."""
    chains = read_chains(source, backup, {})
    for (verdict,) in source.execute("PRAGMA integrity_check(1)"):
        if verdict != "ok":
            raise damaged(backup, f"SQLite's integrity check says {verdict!r}")
    for row in source.execute(f"SELECT {BATCH_COLUMNS} FROM batches"):
        if not is_sealed(row):
            raise damaged(backup, f"model {row[0]!r}, batch {row[1]!r}: bad checksum")
    return {model: chain.last for model, chain in chains.items()}
