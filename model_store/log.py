"""The durable event log: every event of one learner's models, in SQLite, chained by checksums.

Files, in one directory: ``events.sqlite3`` (with SQLite's own ``-wal`` and ``-shm``),
``events.lock`` (flock; holds the writer's pid), ``events.dirty`` (exists while open) and
``events.high`` (the highest ``seq`` acknowledged, see `_HighWater`). After a start with
``accept_loss`` on a damaged log, ``events.dropped-*.sqlite3`` is the damaged file, as it was.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import fcntl
import json
import math
import os
import sqlite3
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from model_store.errors import (
    FormatUnknown,
    LogDamaged,
    LogEndsEarly,
    LogIncomplete,
    LogLocked,
    LogPruned,
    LogRefused,
    LogUnavailable,
)
from model_store.failpoints import reach

FILE_NAME = "events.sqlite3"
FORMAT_VERSION = 1
APPLICATION_ID = 0x41504C47  # "APLG", in SQLite's header
GENESIS = bytes(32)
CHECKPOINT_BYTES = 4 << 20  # SQLite's own default for the size of the -wal: 1000 pages
PAGE_BYTES = 4096
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

Row = tuple[Any, ...]
Fetch = Callable[[str, Row], list[Row]]


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one model, in the model's total order. Times are in Unix seconds."""

    model: str
    seq: int
    kind: str
    received_at: float
    payload: bytes
    reply: bytes
    batch_id: str | None = None
    line: str | None = None
    observed_at: float | None = None
    actor: str | None = None
    reason: str | None = None
    snapshot: int | None = None  # the version of the snapshot that the event names

    def _row(self) -> Row:
        return (
            self.model, self.seq, self.kind, _real(self.received_at), self.payload, self.reply,
            self.batch_id, self.line, _real(self.observed_at), self.actor, self.reason,
            self.snapshot,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Batch:
    """What is remembered under an idempotency key. Times are in Unix seconds."""

    model: str
    batch_id: str
    received_at: float
    seq: int  # the last event applied before the prediction
    digest: bytes  # sha256 of the rows
    rows: bytes
    labels: bytes  # grows as late labels arrive
    reply: bytes
    line: str | None = None
    observed_at: float | None = None

    def _row(self) -> Row:
        return (
            self.model, self.batch_id, _real(self.received_at), self.seq, self.digest, self.rows,
            self.labels, self.reply, self.line, _real(self.observed_at),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gap:
    """Events ``from_seq`` to ``to_seq``, both included, that were lost and given up.

    The event after a gap follows whatever state the learner went on from, so a replay that
    crosses a gap need not give the state that was live; one that starts above it does.
    """

    model: str
    from_seq: int
    to_seq: int
    at: float  # Unix seconds
    why: str
    anchor: bytes = field(repr=False)  # the checksum that the event after the gap is chained to


@dataclass(slots=True)
class _Chain:
    """The retained part of one model's chain, ``pruned`` < seq <= ``last``."""

    model: str
    pruned: int = 0  # the last event that was pruned
    anchor: bytes = GENESIS  # and its checksum
    last: int = 0
    head: bytes = GENESIS

    def _row(self) -> Row:
        return (self.model, self.pruned, self.anchor, self.last, self.head)


class EventLog:
    """Events of several models in one file; one writer, any number of reading threads.

    A commit is one transaction and one fsync: when `commit` returns, its events survive the
    loss of power; when it raises, none of them exists. Each event carries the sha256 of the
    event before it and of all its own columns, so what is read is what was written, in order and
    complete, or `LogDamaged`. Batches carry a sha256 each; that one is missing cannot be seen.
    """

    def __init__(
        self, directory: Path, lock: int, high: _HighWater, chains: Mapping[str, _Chain]
    ) -> None:
        """Use `open`, which checks first what this takes for granted."""
        self.path = directory / FILE_NAME
        self._lock, self._high, self._chains = lock, high, dict(chains)
        self._marker = _Marker(directory / "events.dirty")
        self._writing = threading.Lock()
        self._idle: collections.deque[sqlite3.Connection] = collections.deque()
        self._closed = False
        self._wal_bytes = 0  # written since the last checkpoint, roughly
        with _translated(self.path):
            self._writer = _connect(self.path, "rw")
        try:
            with _translated(self.path):
                self._writer.execute("PRAGMA wal_autocheckpoint=0")
                self._writer.execute("PRAGMA journal_size_limit=67108864")
                self._writer.execute("SELECT 1 FROM chains").fetchone()  # creates the -wal
            self._marker.write(wal=_wal(self.path).stat().st_size > 0)
        except BaseException:
            _close_writer(self._writer, self.path, self._marker)
            raise

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        newest_snapshots: Mapping[str, int] = MappingProxyType({}),
        accept_loss: bool = False,
    ) -> EventLog:
        """Open the log of a directory, creating it if there is none, and check it.

        Checked against the chain: every event after the model's newest snapshot, or every event.

        Args:
            newest_snapshots: per model the ``seq`` of the newest snapshot in the store.
            accept_loss: where the log would be refused, keep the events that verify, record what
                is missing as `gaps` and go on above the highest ``seq`` ever seen. A damaged
                file is kept aside, unchanged.

        Raises:
            LogLocked: another process has it open.
            LogDamaged, LogEndsEarly, LogIncomplete: unless ``accept_loss``; nothing was changed.
            FormatUnknown: written by a newer version, or not an event log; always.
            LogUnavailable: the disk is full or failing.
        """
        directory.mkdir(parents=True, exist_ok=True)
        lock = _take_lock(directory / "events.lock")
        try:
            _finish_salvage(directory)
            path, high = directory / FILE_NAME, _HighWater(directory / "events.high")
            marker = _Marker(directory / "events.dirty")
            floor = dict(high.seqs)
            for model, seq in newest_snapshots.items():
                floor[model] = max(seq, floor.get(model, 0))
            try:
                chains = _inspect(path, newest_snapshots, marker)
                _refuse_early_end(path, chains, floor)
            except LogRefused as refusal:
                if not accept_loss:
                    raise
                if isinstance(refusal, LogEndsEarly):
                    _create_if_missing(path)
                    _record_gaps(path, marker, chains, floor, str(refusal))
                else:
                    _salvage(directory, newest_snapshots, floor, str(refusal))
                chains = _inspect(path, newest_snapshots, marker)
            _create_if_missing(path)
            return cls(directory, lock, high, chains)
        except BaseException:
            os.close(lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def commit(self, events: Sequence[Event], batches: Sequence[Batch] = ()) -> None:
        """Append events, and insert or replace batches, in one transaction with one fsync.

        Raises:
            ValueError: an event's ``seq`` is not the one after its model's last, or a time is not
                finite; nothing was written.
            LogUnavailable: the disk is full or failing; nothing was written, a later call may
                succeed.
        """
        with self._writing:
            chains: dict[str, _Chain] = {}
            rows, size = [], 3 * PAGE_BYTES
            for event in events:
                chain = chains.get(event.model) or self._chain(event.model)
                if event.seq != chain.last + 1:
                    raise ValueError(
                        f"model {event.model!r}: expected seq {chain.last + 1}, found {event.seq}"
                    )
                row = event._row()
                head = _checksum(chain.head, row)
                rows.append((*row, head))
                chains[event.model] = _Chain(
                    chain.model, chain.pruned, chain.anchor, event.seq, head
                )
                size += len(event.payload) + len(event.reply)
            kept = [_sealed(batch._row()) for batch in batches]
            size += sum(len(batch.rows) + len(batch.reply) for batch in batches)
            if not rows and not kept:
                return
            with self._transaction() as writer:
                writer.executemany(INSERT_EVENT, rows)
                writer.executemany(UPSERT_BATCH, kept)
                writer.executemany(UPSERT_CHAIN, [_sealed(c._row()) for c in chains.values()])
                reach("log.before_commit")
            reach("log.after_commit")
            self._chains.update(chains)
            self._high.note({model: chain.last for model, chain in chains.items()})
            self._checkpoint_if_due(size)

    def last_seq(self, model: str) -> int:
        """The last event's ``seq`` (or a gap's end, when nothing follows it); 0 when empty."""
        return self._chain(model).last

    def head(self, model: str) -> bytes:
        """The chain's checksum at the last event, 32 bytes; zeros when empty."""
        return self._chain(model).head

    def pruned(self, model: str) -> int:
        """The ``seq`` of the last event that was pruned; 0 when none was."""
        return self._chain(model).pruned

    def events(self, model: str, after: int = 0, until: int | None = None) -> Iterator[Event]:
        """The events with ``after`` < seq <= ``until``, in order, each verified before it is given.

        Ends at what was the last event when the iteration began. Jumps over recorded `gaps`. No
        transaction is held open between events.

        Raises:
            LogPruned: some of them were pruned; ``after=log.pruned(model)`` gives what is left.
            LogDamaged: the events before this point were sound; this one is not, or is missing.
        """
        for event, _ in self._walk(model, after, until):
            yield event

    def count(self, model: str, after: int = 0, until: int | None = None) -> int:
        """How many retained events have ``after`` < seq <= ``until``."""
        bounds = (model, after, self.last_seq(model) if until is None else until)
        sql = "SELECT count(*) FROM events WHERE model=? AND seq>? AND seq<=?"
        return int(self._fetch(sql, bounds)[0][0])

    def batch(self, model: str, batch_id: str) -> Batch | None:
        """What is remembered under this idempotency key. Raises LogDamaged if it was altered."""
        sql = f"SELECT {BATCH_COLUMNS} FROM batches WHERE model=? AND batch_id=?"
        for row in self._fetch(sql, (model, batch_id)):
            if not _is_sealed(row):
                raise _damaged(self.path, f"model {model!r}, batch {batch_id!r}: bad checksum")
            return Batch(*row[:-1])
        return None

    def gaps(self, model: str) -> list[Gap]:
        """The ranges of events that were given up with ``accept_loss``, oldest first."""
        return _gaps(self._fetch, self.path, model)

    def snapshots_named(self, model: str) -> set[int]:
        """The versions of snapshots that retained events name; their snapshots must be kept."""
        sql = "SELECT DISTINCT snapshot FROM events WHERE model=? AND snapshot IS NOT NULL"
        return {row[0] for row in self._fetch(sql, (model,))}

    def prune(self, model: str, before_seq: int, received_before: float) -> int:
        """Drop events below ``before_seq`` and received earlier, up to the first that is neither.

        Batches received earlier go too. The caller passes the oldest kept snapshot and the
        idempotency horizon. Commits go on in between; freed pages are reused, the file keeps its
        size. Returns the number of events dropped.
        """
        dropped = 0
        while True:
            with self._writing:
                doomed = self._oldest(model, before_seq, received_before)
                if not doomed:
                    break
                chain = self._chain(model)
                pruned, anchor = doomed[-1]
                chain = _Chain(model, pruned, anchor, chain.last, chain.head)
                with self._transaction() as writer:
                    writer.execute("DELETE FROM events WHERE model=? AND seq<=?", (model, pruned))
                    writer.execute(UPSERT_CHAIN, _sealed(chain._row()))
                self._chains[model] = chain
                self._checkpoint_if_due(len(doomed) * PAGE_BYTES // 8)
            dropped += len(doomed)
        stale = (
            "DELETE FROM batches WHERE rowid IN"
            " (SELECT rowid FROM batches WHERE model=? AND received_at<? LIMIT 500)"
        )
        deleted = 1
        while deleted:
            with self._writing, self._transaction() as writer:
                deleted = writer.execute(stale, (model, received_before)).rowcount
                self._wal_bytes += deleted * PAGE_BYTES // 4
        return dropped

    def export(self, model: str, path: Path, after: int, until: int | None = None) -> int:
        """Write events ``after`` < seq <= ``until`` to a Parquet file, one row each.

        The columns are the fields of `Event` and ``checksum``. The file appears under its name
        when it is complete and on the disk. Returns the number of events.

        Raises:
            ModuleNotFoundError: pyarrow is not installed.
            LogPruned, LogDamaged: as `events`.
        """
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "exporting events needs pyarrow: install apical[parquet]", name="pyarrow"
            ) from error
        kinds = {"seq": pa.int64(), "snapshot": pa.int64(), "received_at": pa.float64(),
                 "observed_at": pa.float64(), "payload": pa.binary(), "reply": pa.binary(),
                 "checksum": pa.binary()}  # fmt: skip
        names = EVENT_COLUMNS.replace(" ", "").split(",")
        schema = pa.schema([(name, kinds.get(name, pa.string())) for name in names])
        partial, written = path.with_name(path.name + ".partial"), 0
        try:
            with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
                for rows in _chunks(self._walk(model, after, until), 512):
                    table = [(*event._row(), checksum) for event, checksum in rows]
                    columns = [list(column) for column in zip(*table, strict=True)]
                    writer.write_table(pa.table(dict(zip(names, columns, strict=True)), schema))
                    written += len(rows)
            _publish(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        return written

    def backup(self, path: Path) -> None:
        """Write a consistent copy to one file while commits go on; it is on the disk on return.

        To restore, put the file as ``events.sqlite3`` into a directory that holds no log (above
        all, no ``-wal`` of another file beside it).
        """
        partial = path.with_name(path.name + ".partial")
        partial.unlink(missing_ok=True)
        try:
            with _translated(path), self._reading() as source:
                target = sqlite3.connect(partial, isolation_level=None)
                try:
                    source.backup(target)
                finally:
                    target.close()
            _publish(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def verify(self, model: str) -> int:
        """Check the model's whole chain and batches, and SQLite's own structure.

        Returns the number of events. Raises LogDamaged, naming file, model and ``seq``.
        """
        for row in self._fetch("PRAGMA integrity_check(1)", ()):
            if row[0] != "ok":
                raise _damaged(self.path, f"SQLite's integrity check says {row[0]!r}")
        ids = self._fetch("SELECT batch_id FROM batches WHERE model=?", (model,))
        for (batch_id,) in ids:
            self.batch(model, batch_id)
        return sum(1 for _ in self._walk(model, self.pruned(model), None))

    def mark(self, model: str, seq: int) -> None:
        """Note durably that the log has reached ``seq``, say for a snapshot about to appear."""
        with self._writing:
            self._high.note({model: seq})
            self._high.save()

    def size(self) -> int:
        """Bytes on the disk, the ``-wal`` included."""
        return sum(p.stat().st_size for p in (self.path, _wal(self.path)) if p.exists())

    def close(self) -> None:
        """Fold the ``-wal`` into the file and note a clean stop. Closing twice is harmless."""
        with self._writing:
            if self._closed:
                return
            self._closed = True
            while self._idle:
                self._idle.popleft().close()
            try:
                self._high.save()
            finally:
                self._high.close()
                try:
                    _close_writer(self._writer, self.path, self._marker)
                finally:
                    os.close(self._lock)

    def _chain(self, model: str) -> _Chain:
        return self._chains.get(model) or _Chain(model)

    def _walk(self, model: str, after: int, until: int | None) -> Iterator[tuple[Event, bytes]]:
        chain = self._chain(model)
        until = chain.last if until is None else min(until, chain.last)
        return _walk(self._fetch, self.path, chain, after, until)

    def _oldest(self, model: str, before_seq: int, received_before: float) -> list[Row]:
        sql = (
            "SELECT seq, checksum, received_at FROM events WHERE model=? AND seq<?"
            " ORDER BY seq LIMIT 500"
        )
        doomed = []
        for seq, checksum, received_at in self._fetch(sql, (model, before_seq)):
            if received_at >= received_before:
                break
            doomed.append((seq, checksum))
        return doomed

    def _fetch(self, sql: str, values: Row) -> list[Row]:
        with _translated(self.path), self._reading() as connection:
            return connection.execute(sql, values).fetchall()

    def _checkpoint_if_due(self, written: int) -> None:
        self._wal_bytes += written
        if self._wal_bytes < CHECKPOINT_BYTES:
            return
        self._wal_bytes = 0
        # The commits stand; what a full disk prevents here is tried again 4 MiB later.
        with contextlib.suppress(sqlite3.OperationalError, LogUnavailable):
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self._high.save()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for one reader at a time: they outlive the threads that use them."""
        self._refuse_if_closed()
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = _connect(self.path, "ro")
        try:
            yield connection
        finally:
            if self._closed:
                connection.close()
            else:
                self._idle.append(connection)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction of the writer's; the caller holds ``_writing``."""
        writer = self._writer
        self._refuse_if_closed()
        self._marker.note_wal()
        with _translated(self.path):
            writer.execute("BEGIN IMMEDIATE")
            try:
                yield writer
                writer.execute("COMMIT")
            except BaseException:
                if writer.in_transaction:  # SQLite has rolled back by itself when the disk is full
                    writer.execute("ROLLBACK")
                raise

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ValueError(f"{self.path}: the log is closed")


class _HighWater:
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
        _write_durably(self.path, _high_lines(self.seqs))
        self.close()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class _Marker:
    """``events.dirty``: exists while the log is open, and says whether a -wal must exist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._wal = False

    def write(self, *, wal: bool) -> None:
        content = {"pid": os.getpid(), "opened_at": time.time(), "wal": wal}
        _write_durably(self.path, json.dumps(content).encode())
        self._wal = wal

    def note_wal(self) -> None:
        """Before the first commit of a run, whose fsync also makes the -wal's name durable."""
        if not self._wal:
            self.write(wal=True)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        _sync_directory(self.path.parent)

    def wal_expected(self) -> bool:
        if not self.path.exists():
            return False
        try:
            return bool(json.loads(self.path.read_bytes())["wal"])
        except (ValueError, KeyError, TypeError):
            return True  # damaged: the stop was unclean, and that is all it proves


def _walk(
    fetch: Fetch, path: Path, chain: _Chain, after: int, until: int
) -> Iterator[tuple[Event, bytes]]:
    """Events ``after`` < seq <= ``until`` with their checksums, each verified; all are there."""
    model = chain.model
    gaps = _gaps(fetch, path, model)
    jumps = {gap.from_seq: gap for gap in gaps}
    seq, checksum = _start(fetch, path, chain, gaps, after)
    while seq < until:
        rows = fetch(f"{EVENTS_OF} AND seq>? AND seq<=? ORDER BY seq LIMIT 64", (model, seq, until))
        for row in rows:
            while gap := jumps.get(seq + 1):
                seq, checksum = gap.to_seq, gap.anchor
            if row[1] != seq + 1:
                raise _absent(fetch, path, model, seq + 1)
            checksum = _checksum(checksum, row[:-1])
            if checksum != row[-1]:
                raise _damaged(path, f"model {model!r}, seq {seq + 1}: the chain breaks here")
            seq += 1
            yield Event(*row[:-1]), checksum
        if not rows:
            gap = jumps.get(seq + 1)
            if gap is None:
                raise _absent(fetch, path, model, seq + 1)
            seq, checksum = gap.to_seq, gap.anchor
    if seq == chain.last and checksum != chain.head:
        raise _damaged(path, f"model {model!r}, seq {seq}: the chain's end is not the one noted")


def _start(
    fetch: Fetch, path: Path, chain: _Chain, gaps: Sequence[Gap], after: int
) -> tuple[int, bytes]:
    """Where a walk begins: the ``seq`` and checksum that its first event is chained to."""
    if after < chain.pruned:
        raise LogPruned(
            f"{path}: model {chain.model!r}: events after {after} were asked for, those up to"
            f" {chain.pruned} have been pruned"
        )
    if after == chain.pruned:
        return after, chain.anchor
    for gap in gaps:
        if gap.from_seq <= after <= gap.to_seq:
            return gap.to_seq, gap.anchor
    if after > chain.last:
        return after, chain.head
    found = fetch("SELECT checksum FROM events WHERE model=? AND seq=?", (chain.model, after))
    if not found:
        raise _absent(fetch, path, chain.model, after)
    return after, found[0][0]


def _gaps(fetch: Fetch, path: Path, model: str) -> list[Gap]:
    rows = fetch(f"SELECT {GAP_COLUMNS} FROM gaps WHERE model=? ORDER BY from_seq", (model,))
    if not all(map(_is_sealed, rows)):
        raise _damaged(path, f"model {model!r}: the record of a gap has a bad checksum")
    return [Gap(*row[:-1]) for row in rows]


def _absent(fetch: Fetch, path: Path, model: str, seq: int) -> LogPruned | LogDamaged:
    """An event is not there: was it pruned since the walk began, or is it lost?"""
    if fetch("SELECT 1 FROM chains WHERE model=? AND pruned>=?", (model, seq)):
        return LogPruned(f"{path}: model {model!r}, seq {seq}: pruned in the meantime")
    return _damaged(path, f"model {model!r}, seq {seq}: expected an event, found none")


def _inspect(path: Path, newest_snapshots: Mapping[str, int], marker: _Marker) -> dict[str, _Chain]:
    """Check a log that nobody has open, changing nothing; its chains."""
    wal = _wal(path)
    if marker.wal_expected() and not wal.exists():
        raise LogIncomplete(
            f"{wal}: expected to exist, since the log was not closed cleanly ({marker.path.name}"
            f" says so), found missing: what was committed last is gone. {REMEDY}"
        )
    # SQLite would delete a -wal that it finds beside an empty file.
    if not path.exists() or path.stat().st_size == 0:
        if path.exists() or wal.exists():
            raise _damaged(path, f"expected an event log, found it empty or missing; {wal.name}"
                           f" {'exists' if wal.exists() else 'does not exist'}")  # fmt: skip
        return {}
    with _translated(path), contextlib.closing(_connect(path, "ro")) as connection:

        def fetch(sql: str, values: Row = ()) -> list[Row]:
            return connection.execute(sql, values).fetchall()

        found = fetch("PRAGMA application_id")[0][0], fetch("PRAGMA user_version")[0][0]
        if found != (APPLICATION_ID, FORMAT_VERSION):
            raise FormatUnknown(
                f"{path}: expected an event log of format {FORMAT_VERSION} (application id"
                f" {APPLICATION_ID:#x}), found format {found[1]} (application id {found[0]:#x})."
                " Open it with the version that wrote it, or restore a backup."
            )
        if not {row[0] for row in fetch("SELECT sql FROM sqlite_master")} >= set(SCHEMA):
            raise _damaged(path, "the tables are not those of its format")
        for table in ("chains", "gaps"):
            for (verdict,) in fetch(f"PRAGMA integrity_check({table})"):
                if verdict != "ok":
                    raise _damaged(path, f"table {table}: SQLite says {verdict!r}")
        chains = {}
        for row in fetch(f"SELECT {CHAIN_COLUMNS} FROM chains"):
            if not _is_sealed(row):
                raise _damaged(path, f"the record of the chain of {row[0]!r} has a bad checksum")
            chains[row[0]] = _Chain(*row[:-1])
        model = ""
        for _ in range(len(chains) + 1):  # a damaged index may lead in circles
            model = fetch("SELECT min(model) FROM events WHERE model>?", (model,))[0][0]
            if model is None:
                break
            if model not in chains:
                raise _damaged(path, f"the record of the chain of {model!r} is missing")
        for chain in chains.values():
            after = max(newest_snapshots.get(chain.model, 0), chain.pruned)
            for _ in _walk(fetch, path, chain, after, chain.last):
                pass
        return chains


def _refuse_early_end(path: Path, chains: Mapping[str, _Chain], floor: Mapping[str, int]) -> None:
    for model, seq in floor.items():
        last = chains[model].last if model in chains else 0
        if last < seq:
            raise LogEndsEarly(
                f"{path}: model {model!r}: expected events up to seq {seq}, which a snapshot or"
                f" {path.with_name('events.high').name} proves to have existed, found the last at"
                f" seq {last}. {REMEDY}"
            )


def _record_gaps(
    path: Path, marker: _Marker, chains: Mapping[str, _Chain], floor: Mapping[str, int], why: str
) -> None:
    with _translated(path):
        target = _connect(path, "rw")
        try:
            target.execute("BEGIN IMMEDIATE")
            for model, seq in floor.items():
                _record_gap(target, chains.get(model) or _Chain(model), seq, why)
            target.execute("COMMIT")
        finally:
            _close_writer(target, path, marker)


def _record_gap(target: sqlite3.Connection, chain: _Chain, to_seq: int, why: str) -> None:
    """Let the chain go on above ``to_seq``."""
    if chain.last < to_seq:
        gap = (chain.model, chain.last + 1, to_seq, time.time(), why, chain.head)
        target.execute(INSERT_GAP, _sealed(gap))
        chain.last = to_seq
    target.execute(UPSERT_CHAIN, _sealed(chain._row()))


@dataclass(slots=True)
class _Salvage:
    """How far one model's chain could be saved."""

    chain: _Chain  # what has been kept
    snapshot: int  # the seq of the newest snapshot
    jumps: Mapping[int, Gap]
    highest: int
    broken: bool = False
    previous: bytes = b""  # the checksum of the event read last, when broken
    bridged: Gap | None = None  # a hole that the snapshot covers

    def jump(self) -> None:
        while gap := self.jumps.get(self.chain.last + 1):
            self.chain.last, self.chain.head = gap.to_seq, gap.anchor

    def keeps(self, row: Row) -> bool:
        """Whether the event is kept: it follows what was kept, or the newest snapshot."""
        seq, checksum = row[1], row[-1]
        if not self.broken:
            self.jump()
            follows = seq == self.chain.last + 1
            self.broken = not follows or checksum != _checksum(self.chain.head, row[:-1])
        elif checksum == _checksum(self.previous, row[:-1]):
            self.highest = max(self.highest, seq)
            # Chained to the event that the snapshot was taken after: replay can go on from there.
            if seq == self.snapshot + 1 and self.chain.last < self.snapshot:
                model, first = self.chain.model, self.chain.last + 1
                self.bridged = Gap(model, first, self.snapshot, 0.0, "", self.previous)
                self.broken = False
        if self.broken:
            self.previous = checksum if isinstance(checksum, bytes) else b""
            return False
        self.chain.last, self.chain.head = seq, checksum
        return True


def _salvage(
    directory: Path, newest: Mapping[str, int], floor: Mapping[str, int], why: str
) -> None:
    """Put a new file in the place of a damaged one, with all that verifies and the gaps noted."""
    path = directory / FILE_NAME
    scratch = directory / "events.salvage"
    _create(scratch)
    readable = path.exists() and path.stat().st_size > 0  # else SQLite would delete its -wal
    with (
        _translated(scratch),
        contextlib.closing(_connect(path if readable else scratch, "ro")) as old,
        contextlib.closing(_connect(scratch, "rw")) as new,
    ):
        new.execute("BEGIN IMMEDIATE")
        saved: dict[str, _Salvage] = {}
        gaps = [row for row in _readable(old, GAP_COLUMNS, "gaps") if _is_sealed(row)]
        new.executemany(INSERT_GAP, gaps)
        for row in _readable(old, CHAIN_COLUMNS, "chains"):
            if _is_sealed(row):
                model, pruned, anchor, last, _ = row[:-1]
                jumps = {gap[1]: Gap(*gap[:-1]) for gap in gaps if gap[0] == model}
                chain = _Chain(model, pruned, anchor, pruned, anchor)
                saved[model] = _Salvage(chain, newest.get(model, 0), jumps, last)
        for row in _readable(old, EVENT_COLUMNS, "events"):
            model = row[0]
            if not isinstance(model, str) or not isinstance(row[1], int):
                continue
            if model not in saved:
                saved[model] = _Salvage(_Chain(model), newest.get(model, 0), {}, 0)
            if saved[model].keeps(row):
                new.execute(INSERT_EVENT, row)
        for model in floor:
            saved.setdefault(model, _Salvage(_Chain(model), 0, {}, 0))
        for model, save in saved.items():
            if gap := save.bridged:
                row = (model, gap.from_seq, gap.to_seq, time.time(), why, gap.anchor)
                new.execute(INSERT_GAP, _sealed(row))
            if not save.broken:
                save.jump()
            # A name with nothing kept and nothing known of it is a damaged name.
            if save.chain.last or save.highest or model in floor:
                _record_gap(new, save.chain, max(save.highest, floor.get(model, 0)), why)
        for row in _readable(old, BATCH_COLUMNS, "batches"):
            if _is_sealed(row):
                new.execute(UPSERT_BATCH, row)
        new.execute("COMMIT")
    reach("log.salvage")
    # From here on every start finishes the exchange, see `_finish_salvage`.
    os.replace(scratch, directory / f"events.salvaged-{time.time_ns()}.sqlite3")
    _sync_directory(directory)
    _finish_salvage(directory)


def _finish_salvage(directory: Path) -> None:
    """Exchange damaged and salvaged file; each step can be repeated after a crash."""
    path = directory / FILE_NAME
    for salvaged in sorted(directory.glob("events.salvaged-*.sqlite3")):
        aside = salvaged.with_name(salvaged.name.replace("salvaged", "dropped"))
        for old, kept in ((_wal(path), _wal(aside)), (path, aside)):
            reach("log.salvage")
            if old.exists() and not kept.exists():
                os.replace(old, kept)
        path.with_name(FILE_NAME + "-shm").unlink(missing_ok=True)
        _Marker(directory / "events.dirty").remove()
        reach("log.salvage")
        os.replace(salvaged, path)
        _sync_directory(directory)


def _readable(connection: sqlite3.Connection, columns: str, table: str) -> Iterator[Row]:
    """Rows in the order of insertion, past pages that cannot be read, through no index."""
    sql = f"SELECT rowid, {columns} FROM {table} NOT INDEXED WHERE rowid>? ORDER BY rowid"
    rowid, step = 0, 1
    while rowid < 1 << 62:
        try:
            for row in connection.execute(sql, (rowid,)):
                rowid, step = max(rowid, row[0]), 1
                yield row[1:]
            return
        except sqlite3.DatabaseError:
            rowid, step = rowid + step, step * 2


def _create_if_missing(path: Path) -> None:
    if not path.exists():
        scratch = path.with_name("events.new")
        _create(scratch)
        os.replace(scratch, path)
        _sync_directory(path.parent)


def _create(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with _translated(path), contextlib.closing(_connect(path, "rwc")) as connection:
        connection.execute("BEGIN")
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode=WAL")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection in autocommit. In mode "ro" closing it leaves file and -wal as they were."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA cell_size_check=ON")
    return connection


def _close_writer(connection: sqlite3.Connection, path: Path, marker: _Marker) -> None:
    """Fold the -wal into the file and note a clean stop."""
    try:
        with _translated(path):
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        # SQLite deletes the -wal with the last connection: the marker has to go before, or a
        # crash in between would look like a -wal that somebody took away.
        if not busy:
            marker.remove()
    finally:
        connection.close()
        if not _wal(path).exists():
            marker.remove()


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
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
            raise _unavailable(path, error) from error
        raise _damaged(path, f"SQLite says {str(error)!r}") from error


_PASSING = frozenset({
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS,
})  # fmt: skip


def _unavailable(path: Path, error: Exception) -> LogUnavailable:
    return LogUnavailable(f"{path}: {error}. Nothing was written; free the disk and try again.")


def _damaged(path: Path, found: str) -> LogDamaged:
    return LogDamaged(f"{path}: {found}. {REMEDY}")


def _checksum(previous: bytes, values: Iterable[Any]) -> bytes:
    """sha256 of the checksum before and of all values, each with its type and length."""
    parts = [previous]
    for value in values:
        if value is None:
            parts.append(b"n")
        elif isinstance(value, bytes):
            parts += (b"b", len(value).to_bytes(8, "big"), value)
        elif isinstance(value, str):
            text = value.encode()
            parts += (b"s", len(text).to_bytes(8, "big"), text)
        elif isinstance(value, float):
            parts += (b"f", struct.pack(">d", value))
        else:
            parts += (b"i", value.to_bytes(8, "big", signed=True))
    return sha256(b"".join(parts)).digest()


def _sealed(row: Row) -> Row:
    return (*row, _checksum(GENESIS, row))


def _is_sealed(row: Row) -> bool:
    return bool(row[-1] == _checksum(GENESIS, row[:-1]))


def _real(value: float | None) -> float | None:
    """As SQLite gives it back: it keeps no NaN and no sign of zero."""
    if value is None:
        return None
    if not math.isfinite(value):
        raise ValueError(f"expected a time in Unix seconds, found {value}")
    return float(value) + 0.0


def _high_lines(seqs: Mapping[str, int]) -> bytes:
    contents = [json.dumps([seq, model]).encode() for model, seq in seqs.items()]
    return b"".join(b"%08x %s\n" % (zlib.crc32(content), content) for content in contents)


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    chunk = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _take_lock(path: Path) -> int:
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


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _publish(partial: Path, path: Path) -> None:
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(partial, path)
    _sync_directory(path.parent)


def _write_durably(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        _publish(partial, path)
    except OSError as error:
        raise _unavailable(path, error) from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
