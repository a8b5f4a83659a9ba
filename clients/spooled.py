"""The SQLite file of a spool: what waits, what was refused for good, and counts."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from clients.calls import Call
from clients.errors import ApicalClientError

FORMAT = 1
SCHEMA = (
    "CREATE TABLE waiting (n INTEGER PRIMARY KEY AUTOINCREMENT, batch_id TEXT NOT NULL,"
    " late INTEGER NOT NULL, path TEXT NOT NULL, body BLOB NOT NULL, put_at REAL NOT NULL)",
    "CREATE UNIQUE INDEX waiting_by_id ON waiting (batch_id) WHERE late = 0",
    "CREATE TABLE dead (n INTEGER PRIMARY KEY, batch_id TEXT NOT NULL, late INTEGER NOT NULL,"
    " path TEXT NOT NULL, body BLOB NOT NULL, put_at REAL NOT NULL, why TEXT NOT NULL)",
    "CREATE TABLE about (name TEXT PRIMARY KEY, value)",
)


class SpoolFull(ApicalClientError):
    """As many bytes wait as may; nothing was put."""


class Item(NamedTuple):
    """One that waits."""

    n: int
    batch_id: str
    late: bool
    call: Call


class Dead(NamedTuple):
    """One that was refused for good: its body as it was sent, and why."""

    batch_id: str
    body: dict[str, Any]
    why: str


class SpoolFile:
    """Methods may be called by any thread; each change is on the disk on return."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._create()
        elif version != FORMAT:
            self._database.close()
            raise ApicalClientError(f"{path}: expected a spool of format {FORMAT}, found {version}")
        self.name = str(self._about("name"))
        sum_of = "SELECT coalesce(sum(length(body)), 0) FROM waiting"
        self._bytes = int(self._database.execute(sum_of).fetchone()[0])

    def _create(self) -> None:
        self._database.execute("BEGIN")
        for statement in SCHEMA:
            self._database.execute(statement)
        values = [("name", secrets.token_hex(4)), ("dropped", 0), ("last", None)]
        self._database.executemany("INSERT INTO about VALUES (?, ?)", values)
        self._database.execute(f"PRAGMA user_version={FORMAT}")
        self._database.execute("COMMIT")

    def put(self, batch_id: str, call: Call, most_bytes: int, drop: bool) -> None:
        """Add one at the end; one of the same id that is no label is there already."""
        body = json.dumps(call.body, allow_nan=False).encode()
        late = call.path.endswith("/labels")
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            if not late and self._waits(batch_id):
                return
            self._make_room(len(body), most_bytes, drop)
            self._database.execute(
                "INSERT INTO waiting (batch_id, late, path, body, put_at) VALUES (?, ?, ?, ?, ?)",
                (batch_id, late, call.path, body, time.time()),
            )
            self._set("last", batch_id)
            self._bytes += len(body)

    def _waits(self, batch_id: str) -> bool:
        asked = "SELECT 1 FROM waiting WHERE batch_id=? AND late=0"
        return self._database.execute(asked, (batch_id,)).fetchone() is not None

    def _make_room(self, more: int, most: int, drop: bool) -> None:
        while self._bytes + more > most:
            found = self._database.execute(
                "SELECT n, length(body) FROM waiting ORDER BY n LIMIT 1"
            ).fetchone()
            if not drop or found is None:
                raise SpoolFull(
                    f"expected at most {most} bytes to wait, found {self._bytes} and {more} more"
                )
            self._database.execute("DELETE FROM waiting WHERE n=?", found[:1])
            self._bytes -= found[1]
            self._set("dropped", int(self._about("dropped")) + 1)

    def oldest(self) -> Item | None:
        """What is to be sent next."""
        with self._lock:
            found = self._database.execute(
                "SELECT n, batch_id, late, path, body FROM waiting ORDER BY n LIMIT 1"
            ).fetchone()
        if found is None:
            return None
        n, batch_id, late, path, body = found
        return Item(n, batch_id, bool(late), Call("POST", path, json.loads(body)))

    def delete(self, item: Item) -> None:
        """It is done with."""
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._remove(item)

    def bury(self, item: Item, why: str) -> None:
        """It was refused for good."""
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute(
                "INSERT OR IGNORE INTO dead SELECT *, ? FROM waiting WHERE n=?", (why, item.n)
            )
            self._remove(item)

    def _remove(self, item: Item) -> None:
        # It may have been dropped meanwhile, to make room.
        asked = "DELETE FROM waiting WHERE n=? RETURNING length(body)"
        for (size,) in self._database.execute(asked, (item.n,)).fetchall():
            self._bytes -= size

    def revive(self) -> int:
        """Put all that was refused at the end of what waits; how many."""
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            sum_of = "SELECT count(*), coalesce(sum(length(body)), 0) FROM dead"
            count, size = self._database.execute(sum_of).fetchone()
            self._database.execute(
                "INSERT OR IGNORE INTO waiting (batch_id, late, path, body, put_at)"
                " SELECT batch_id, late, path, body, put_at FROM dead ORDER BY n"
            )
            self._database.execute("DELETE FROM dead")
            self._bytes += size
        return int(count)

    def dead(self) -> list[Dead]:
        with self._lock:
            found = self._database.execute("SELECT batch_id, body, why FROM dead ORDER BY n")
            return [Dead(batch_id, json.loads(body), why) for batch_id, body, why in found]

    def count(self) -> int:
        return int(self._one("SELECT count(*) FROM waiting"))

    def count_dead(self) -> int:
        return int(self._one("SELECT count(*) FROM dead"))

    def dropped(self) -> int:
        return int(self._one("SELECT value FROM about WHERE name='dropped'"))

    def last(self) -> str | None:
        found: str | None = self._one("SELECT value FROM about WHERE name='last'")
        return found

    def oldest_s(self) -> float:
        since = self._one("SELECT min(put_at) FROM waiting")
        return 0.0 if since is None else max(0.0, time.time() - since)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _one(self, asked: str) -> Any:
        with self._lock:
            return self._database.execute(asked).fetchone()[0]

    def _about(self, name: str) -> Any:
        return self._database.execute("SELECT value FROM about WHERE name=?", (name,)).fetchone()[0]

    def _set(self, name: str, value: Any) -> None:
        self._database.execute("UPDATE about SET value=? WHERE name=?", (value, name))
