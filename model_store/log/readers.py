"""Connections that read the event log, for any number of threads."""

from __future__ import annotations

import collections
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from model_store.log.database import connect, translated
from model_store.log.records import Row


class Readers:
    """As many connections as ever read at once, kept open; they outlive the threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: collections.deque[sqlite3.Connection] = collections.deque()
        self._closed = False

    def fetch(self, sql: str, values: Row) -> list[Row]:
        with translated(self.path), self.reading() as connection:
            return connection.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for one reader at a time. Raises ValueError once closed."""
        if self._closed:
            raise ValueError(f"{self.path}: the log is closed")
        try:
            connection = self._idle.pop()
        except IndexError:
            with translated(self.path):
                connection = connect(self.path, "ro")
        try:
            yield connection
        finally:
            if self._closed:
                connection.close()
            else:
                self._idle.append(connection)

    def close(self) -> None:
        """Close those that are idle; each other one closes when its reader is done."""
        self._closed = True
        while self._idle:
            self._idle.popleft().close()
