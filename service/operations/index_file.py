"""The SQLite file of the score index: derived from the event log, so it may be lost at any time.

It lies beside the log. Each row carries a sha256 of itself; a file that is damaged, of another
format or of no kind at all is thrown away and made anew.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, NamedTuple

from model_store.log.records import chained, is_sealed
from service.operations.stretches import Key, Stretch, Tally

FILE_NAME = "events.index.sqlite3"
FORMAT = 1
APPLICATION_ID = 0x4150494E  # "APIN", in SQLite's header

MOST_STRETCHES = 20_000
"""That are kept of a model, by one clock; the oldest of more are merged, then dropped."""

MOST_TALLIES = 2_000
"""That are kept of a model."""

MOST_VERBS = 2_000
"""Of a model, whose place in the log is kept: the latest."""

WIDER = (3_600.0, 86_400.0)
"""What the oldest stretches are merged to, in seconds: hours, then days."""

SCHEMA = (
    """CREATE TABLE heads (model TEXT PRIMARY KEY, seq INTEGER NOT NULL, head TEXT NOT NULL,
        log TEXT NOT NULL, tally TEXT NOT NULL, rows INTEGER NOT NULL, dropped INTEGER NOT NULL,
        checksum BLOB NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE tallies (model TEXT NOT NULL, seq INTEGER NOT NULL, tally TEXT NOT NULL,
        checksum BLOB NOT NULL, PRIMARY KEY (model, seq)) WITHOUT ROWID""",
    """CREATE TABLE verbs (model TEXT NOT NULL, seq INTEGER NOT NULL, checksum BLOB NOT NULL,
        PRIMARY KEY (model, seq)) WITHOUT ROWID""",
    """CREATE TABLE stretches (model TEXT NOT NULL, clock INTEGER NOT NULL, start REAL NOT NULL,
        width REAL NOT NULL, line TEXT NOT NULL, counts TEXT NOT NULL, checksum BLOB NOT NULL,
        PRIMARY KEY (model, clock, start, width, line)) WITHOUT ROWID""",
)


class IndexDamaged(Exception):
    """The file is not what was written; it is to be made anew."""


class Head(NamedTuple):
    """How far a model's log has been counted.

    Parameters
    ----------
    seq, head
        The last event that was counted, and the log's chain after it.
    log
        What else of the log must be as it was: what was pruned, and which gaps it has.
    tally
        To go on from.
    rows, dropped
        Labelled rows that were counted, and those of them whose stretches were dropped.
    """

    seq: int
    head: str
    log: str
    tally: Tally
    rows: int = 0
    dropped: int = 0


class IndexFile:
    """One file; whoever calls sees to it that it is one thread at a time.

    Raises `IndexDamaged`, sqlite3.Error and OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: sqlite3.Connection | None = None
        self._checked: set[str] = set()

    def close(self) -> None:
        """Until it is asked again."""
        opened, self._opened = self._opened, None
        self._checked.clear()
        if opened is not None:
            opened.close()

    def throw_away(self) -> None:
        """Delete the file."""
        with contextlib.suppress(sqlite3.Error):
            self.close()
        for suffix in ("", "-journal"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def head(self, model: str) -> Head | None:
        """How far a model has been counted; None where it is not known."""
        columns = "model, seq, head, log, tally, rows, dropped, checksum"
        found = self._fetch(f"SELECT {columns} FROM heads WHERE model=?", (model,))
        if not found:
            return None
        _, seq, head, log, tally, rows, dropped, _ = found[0]
        if model not in self._checked:
            # A seal tells what was altered, not what is missing.
            kept = sum(s.rows for _, s in self.stretches(model, 0))
            if kept != rows - dropped:
                raise IndexDamaged(f"{model}: expected {rows - dropped} rows, found {kept}")
            self._checked.add(model)
        return Head(seq, head, log, Tally.from_json(json.loads(tally)), rows, dropped)

    def stretches(
        self,
        model: str,
        clock: int,
        since: float | None = None,
        until: float | None = None,
        line: str | None = None,
    ) -> Iterator[tuple[Key, Stretch]]:
        """Those that touch a time, oldest first."""
        sql = "SELECT * FROM stretches WHERE model=? AND clock=?"
        values: list[Any] = [model, clock]
        for condition, value in (("start+width>?", since), ("start<?", until), ("line=?", line)):
            if value is not None:
                sql += f" AND {condition}"
                values.append(value)
        for row in self._fetch(f"{sql} ORDER BY start, line, width", values):
            yield (row[2], row[3], row[4]), _stretch(row[5])

    def stretch(self, model: str, clock: int, key: Key) -> Stretch:
        """One, empty where it is not there."""
        sql = "SELECT * FROM stretches WHERE model=? AND clock=? AND start=? AND width=? AND line=?"
        found = self._fetch(sql, (model, clock, *key))
        return _stretch(found[0][5]) if found else Stretch()

    def tally(self, model: str, seq: int) -> tuple[int, Tally] | None:
        """The latest one that is kept up to an event, and its event."""
        sql = "SELECT * FROM tallies WHERE model=? AND seq<=? ORDER BY seq DESC LIMIT 1"
        found = self._fetch(sql, (model, seq))
        return (found[0][1], Tally.from_json(json.loads(found[0][2]))) if found else None

    def verbs(self, model: str) -> list[int]:
        """The events that are verbs, in order: the latest `MOST_VERBS`."""
        found = self._fetch("SELECT * FROM verbs WHERE model=? ORDER BY seq", (model,))
        return [seq for _, seq, _ in found]

    def keep_tally(self, model: str, seq: int, tally: Tally) -> None:
        """Keep one, and of too many older ones every other."""
        with self._transaction() as connection:
            self._tally(connection, model, seq, tally)

    def write(
        self,
        model: str,
        head: Head,
        counted: Mapping[tuple[int, Key], Stretch],
        verbs: Sequence[int],
    ) -> None:
        """All that was counted up to a head, and the verbs among it, in one transaction."""
        with self._transaction() as connection:
            rows = [chained((model, seq)) for seq in verbs]
            connection.executemany("INSERT OR REPLACE INTO verbs VALUES (?,?,?)", rows)
            latest = "SELECT seq FROM verbs WHERE model=? ORDER BY seq DESC LIMIT 1 OFFSET ?"
            doomed = f"DELETE FROM verbs WHERE model=? AND seq<=({latest})"
            connection.execute(doomed, (model, model, MOST_VERBS))
            for (clock, key), stretch in counted.items():
                _put(connection, model, clock, key, stretch)
            self._tally(connection, model, head.seq, head.tally)
            dropped = sum(self._bound(connection, model, clock) for clock in (1, 0))
            tally = json.dumps(head.tally.to_json())
            row = model, *head[:3], tally, head.rows, head.dropped + dropped
            connection.execute(
                "INSERT OR REPLACE INTO heads VALUES (?,?,?,?,?,?,?,?)", chained(row)
            )
        self._checked.add(model)

    def forget(self, model: str) -> None:
        """All of a model."""
        with self._transaction() as connection:
            for table in ("heads", "tallies", "verbs", "stretches"):
                connection.execute(f"DELETE FROM {table} WHERE model=?", (model,))

    def _tally(self, connection: sqlite3.Connection, model: str, seq: int, tally: Tally) -> None:
        row = chained((model, seq, json.dumps(tally.to_json())))
        connection.execute("INSERT OR REPLACE INTO tallies VALUES (?,?,?,?)", row)
        sql = "SELECT seq FROM tallies WHERE model=? ORDER BY seq"
        kept = [found[0] for found in connection.execute(sql, (model,))]
        if len(kept) > MOST_TALLIES:
            # The first of all is where the log begins.
            doomed = [(model, one) for one in kept[1 : MOST_TALLIES // 2 : 2]]
            connection.executemany("DELETE FROM tallies WHERE model=? AND seq=?", doomed)

    def _bound(self, connection: sqlite3.Connection, model: str, clock: int) -> int:
        """Merge the oldest of too many stretches, and drop what is still too many: the labelled
        rows, by the clock of receipt, that are no longer counted."""
        of = "FROM stretches WHERE model=? AND clock=?"
        if connection.execute(f"SELECT count(*) {of}", (model, clock)).fetchone()[0] <= (
            MOST_STRETCHES
        ):
            return 0
        kept = list(self.stretches(model, clock))
        for width in WIDER:
            if len(kept) > MOST_STRETCHES // 2:
                edge = kept[len(kept) // 2][0][0] // width * width
                old = [pair for pair in kept if pair[0][0] + pair[0][1] <= edge]
                new = [pair for pair in kept if pair[0][0] + pair[0][1] > edge]
                merged: dict[Key, Stretch] = {}
                for (start, was, line), stretch in old:
                    wider = max(was, width)
                    key = start // wider * wider, wider, line
                    merged.setdefault(key, Stretch()).add(stretch)
                kept = sorted([*merged.items(), *new], key=lambda pair: pair[0])
        doomed = kept[: max(0, len(kept) - MOST_STRETCHES * 3 // 4)]
        connection.execute(f"DELETE {of}", (model, clock))
        for key, stretch in kept[len(doomed) :]:
            _put(connection, model, clock, key, stretch)
        return sum(stretch.rows for _, stretch in doomed) if clock == 0 else 0

    def _fetch(self, sql: str, values: Any) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._connection().execute(sql, values).fetchall()
        if not all(map(is_sealed, found)):
            raise IndexDamaged(f"{self.path}: a row has a bad checksum")
        return found

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> sqlite3.Connection:
        fresh = not self.path.exists()
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            # Nothing is lost with it: what a loss of power leaves of it is checked when it is read.
            connection.execute("PRAGMA synchronous=OFF")
            if fresh:
                connection.execute("BEGIN")
                for statement in SCHEMA:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version={FORMAT}")
                connection.execute("COMMIT")
            about = [
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("application_id", "user_version", "quick_check(1)")
            ]
            if about != [APPLICATION_ID, FORMAT, "ok"]:
                raise IndexDamaged(f"{self.path}: expected an index of format {FORMAT}: {about}")
        except BaseException:
            connection.close()
            raise
        return connection


def _put(
    connection: sqlite3.Connection, model: str, clock: int, key: Key, stretch: Stretch
) -> None:
    counts = json.dumps(astuple(stretch))
    row = chained((model, clock, *key, counts))
    connection.execute("INSERT OR REPLACE INTO stretches VALUES (?,?,?,?,?,?,?)", row)


def _stretch(counts: str) -> Stretch:
    found = Stretch(*json.loads(counts))
    # JSON's keys are text.
    found.labels = {int(label): count for label, count in found.labels.items()}
    return found
