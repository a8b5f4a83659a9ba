"""The small files beside the database: who writes, how far it got, whether it stopped cleanly."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from model_store.durable import sync_directory, write_durably
from model_store.errors import LogLocked
from model_store.log.database import FILE_NAME, translated, unavailable, wal_of


class HighWater:
    """The highest acknowledged ``seq`` per model, kept outside the database.

    Each commit appends a line without an fsync; a checkpoint, `EventLog.mark` and a clean close
    rewrite the file durably. So it survives the death of the process exactly, and the loss of
    power up to the last rewrite or whatever the kernel wrote since. It is written after the
    commit, hence never claims more than was durable: a log that ends before it has lost
    acknowledged events. The converse does not hold; and bytes that are lost here prove nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seqs: dict[str, int] = {}
        lines = path.read_bytes().splitlines() if path.exists() else []
        for line in lines:
            crc, _, content = line.partition(b" ")
            if crc == b"%08x" % zlib.crc32(content):  # else torn or flipped
                seq, model = json.loads(content)
                self.seqs[model] = max(seq, self.seqs.get(model, 0))
        self._file: int | None = None

    def note(self, seqs: Mapping[str, int]) -> None:
        for model, seq in seqs.items():
            self.seqs[model] = max(seq, self.seqs.get(model, 0))
        # The commit stands, whatever happens to the note of it.
        with contextlib.suppress(OSError):
            lines = _high_lines({model: self.seqs[model] for model in seqs})
            if self._file is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._file = os.open(self.path, flags, 0o644)
                lines = b"\n" + lines  # a torn line must not swallow this one
            os.write(self._file, lines)

    def save(self) -> None:
        _write(self.path, _high_lines(self.seqs))
        self.close()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Marker:
    """``events.dirty``: exists while the log is open, and says whether a -wal must exist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._wal = False

    def write(self, *, wal: bool) -> None:
        content = {"pid": os.getpid(), "opened_at": time.time(), "wal": wal}
        _write(self.path, json.dumps(content).encode())
        self._wal = wal

    def note_wal(self) -> None:
        """Before the first commit of a run, whose fsync also makes the -wal's name durable."""
        if not self._wal:
            self.write(wal=True)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        sync_directory(self.path.parent)

    def wal_expected(self) -> bool:
        if not self.path.exists():
            return False
        try:
            return bool(json.loads(self.path.read_bytes())["wal"])
        except (ValueError, KeyError, TypeError):
            return True  # damaged: the stop was unclean, and that is all it proves


def close_writer(connection: sqlite3.Connection, path: Path, marker: Marker) -> None:
    """Fold the -wal into the file and note a clean stop."""
    try:
        with translated(path):
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        # SQLite deletes the -wal with the last connection: the marker has to go before, or a
        # crash in between would look like a -wal that somebody took away.
        if not busy:
            marker.remove()
    finally:
        connection.close()
        if not wal_of(path).exists():
            marker.remove()


def take_lock(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise LogLocked(
            f"{path.with_name(FILE_NAME)}: expected no other writer, found it open in the process"
            f" with pid {holder}. Stop that process, or use another directory."
        ) from error
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def _high_lines(seqs: Mapping[str, int]) -> bytes:
    contents = [f"[{seq}, {_quoted(model)}]".encode() for model, seq in seqs.items()]
    return b"".join(b"%08x %s\n" % (zlib.crc32(content), content) for content in contents)


_quoted = lru_cache(maxsize=4096)(json.dumps)


def _write(path: Path, content: bytes) -> None:
    try:
        write_durably(path, content)
    except OSError as error:
        raise unavailable(path, error) from error
