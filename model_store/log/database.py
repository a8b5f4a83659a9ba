"""The SQLite file of the event log: its schema, its statements, its connections, its errors."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from model_store.durable import sync_directory, whole
from model_store.errors import LogDamaged, LogUnavailable

FILE_NAME = "events.sqlite3"
FORMAT_VERSION = 1
APPLICATION_ID = 0x41504C47  # "APLG", in SQLite's header
REMEDY = "Restore a backup, or go on without what is missing: --accept-loss."
SCHEMA = (
    """CREATE TABLE events (
        model TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, received_at REAL NOT NULL,
        payload BLOB NOT NULL, reply BLOB NOT NULL, batch_id TEXT, line TEXT, observed_at REAL,
        actor TEXT, reason TEXT, snapshot INTEGER, checksum BLOB NOT NULL)""",
    "CREATE UNIQUE INDEX events_in_order ON events (model, seq)",
    "CREATE INDEX events_naming ON events (model, snapshot) WHERE snapshot IS NOT NULL",
    """CREATE TABLE batches (
        model TEXT NOT NULL, batch_id TEXT NOT NULL, received_at REAL NOT NULL,
        seq INTEGER NOT NULL, digest BLOB NOT NULL, rows BLOB NOT NULL, labels BLOB NOT NULL,
        reply BLOB NOT NULL, line TEXT, observed_at REAL, checksum BLOB NOT NULL)""",
    "CREATE UNIQUE INDEX batches_by_id ON batches (model, batch_id)",
    "CREATE INDEX batches_by_age ON batches (model, received_at)",
    """CREATE TABLE chains (
        model TEXT NOT NULL UNIQUE, pruned INTEGER NOT NULL, anchor BLOB NOT NULL,
        last INTEGER NOT NULL, head BLOB NOT NULL, checksum BLOB NOT NULL)""",
    """CREATE TABLE gaps (
        model TEXT NOT NULL, from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL, at REAL NOT NULL,
        why TEXT NOT NULL, anchor BLOB NOT NULL, checksum BLOB NOT NULL)""",
)
EVENT_COLUMNS = (
    "model, seq, kind, received_at, payload, reply, batch_id, line, observed_at, actor, reason,"
    " snapshot, checksum"
)
BATCH_COLUMNS = (
    "model, batch_id, received_at, seq, digest, rows, labels, reply, line, observed_at, checksum"
)
CHAIN_COLUMNS = "model, pruned, anchor, last, head, checksum"
GAP_COLUMNS = "model, from_seq, to_seq, at, why, anchor, checksum"
INSERT_EVENT = f"INSERT INTO events ({EVENT_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"
INSERT_GAP = f"INSERT INTO gaps ({GAP_COLUMNS}) VALUES (?,?,?,?,?,?,?)"
UPSERT_BATCH = (
    f"INSERT INTO batches ({BATCH_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)"
    " ON CONFLICT (model, batch_id) DO UPDATE SET received_at=excluded.received_at,"
    " seq=excluded.seq, digest=excluded.digest, rows=excluded.rows, labels=excluded.labels,"
    " reply=excluded.reply, line=excluded.line, observed_at=excluded.observed_at,"
    " checksum=excluded.checksum"
)
UPSERT_CHAIN = (
    f"INSERT INTO chains ({CHAIN_COLUMNS}) VALUES (?,?,?,?,?,?)"
    " ON CONFLICT (model) DO UPDATE SET pruned=excluded.pruned, anchor=excluded.anchor,"
    " last=excluded.last, head=excluded.head, checksum=excluded.checksum"
)
EVENTS_OF = f"SELECT {EVENT_COLUMNS} FROM events WHERE model=?"
_PASSING = frozenset({
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS,
})  # fmt: skip


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection in autocommit. In mode "ro" closing it leaves file and -wal as they were.

    The mode is SQLite's; further parameters of its URI may follow, as in "ro&immutable=1".
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA cell_size_check=ON")
    return connection


def create_if_missing(path: Path) -> None:
    if not path.exists():
        scratch = path.with_name("events.new")
        create(scratch)
        os.replace(scratch, path)
        sync_directory(path.parent)


def create(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with translated(path), contextlib.closing(connect(path, "rwc")) as connection:
        connection.execute("BEGIN")
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode=WAL")


def wal_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors in this package's terms; those of a wrong call travel as they are."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        if code == sqlite3.SQLITE_CONSTRAINT_NOTNULL:
            raise
        if code & 0xFF in _PASSING:
            raise unavailable(path, error) from error
        raise damaged(path, f"SQLite says {str(error)!r}") from error


def unavailable(path: Path, error: Exception) -> LogUnavailable:
    return LogUnavailable(f"{path}: {error}. Nothing was written; free the disk and try again.")


def damaged(path: Path, found: str) -> LogDamaged:
    return LogDamaged(f"{path}: {found}. {REMEDY}")


def copy_database(source: sqlite3.Connection, path: Path) -> None:
    """A consistent copy in one file, with no ``-wal``; it is on the disk on return."""
    with (
        whole(path) as partial,
        translated(path),
        contextlib.closing(sqlite3.connect(partial)) as target,
    ):
        source.backup(target)
