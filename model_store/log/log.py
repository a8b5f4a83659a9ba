"""The durable event log: every event of one learner's models, in SQLite, chained by checksums.

Files, in one directory: ``events.sqlite3`` (with SQLite's own ``-wal`` and ``-shm``),
``events.lock`` (flock; holds the writer's pid), ``events.dirty`` (exists while open) and
``events.high`` (the highest ``seq`` acknowledged, see `HighWater`). After a start with
``accept_loss`` on a damaged log, ``events.dropped-*.sqlite3`` is the damaged file, as it was.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from model_store.errors import LogEndsEarly, LogRefused, LogUnavailable
from model_store.failpoints import reach
from model_store.log.chain import inspect, refuse_early_end
from model_store.log.database import (
    FILE_NAME,
    FORMAT_VERSION,
    INSERT_EVENT,
    UPSERT_BATCH,
    UPSERT_CHAIN,
    connect,
    create_if_missing,
    translated,
    unavailable,
    wal_of,
)
from model_store.log.marks import HighWater, Marker, close_writer, take_lock
from model_store.log.pruning import drop_batches, drop_events, oldest
from model_store.log.reading import Reading
from model_store.log.records import Batch, Chain, Gap, Record, chained, checksum_of
from model_store.log.salvage import finish_salvage, record_gaps, salvage

__all__ = ["Batch", "EventLog", "Gap", "Record"]

CHECKPOINT_BYTES = 4 << 20  # SQLite's own default for the size of the -wal: 1000 pages
PAGE_BYTES = 4096


class EventLog(Reading):
    """Events of several models in one file; one writer, any number of reading threads.

    A commit is one transaction and one fsync: when `commit` returns, its events survive the
    loss of power; when it raises, none of them exists. Each event carries the sha256 of the
    event before it and of all its own columns, so what is read is what was written, in order and
    complete, or `LogDamaged`. Batches carry a sha256 each; that one is missing cannot be seen.
    """

    def __init__(
        self, directory: Path, lock: int, high: HighWater, chains: Mapping[str, Chain]
    ) -> None:
        """Use `open`, which checks first what this takes for granted."""
        super().__init__(directory / FILE_NAME, chains)
        self._lock, self._high = lock, high
        self._marker = Marker(directory / "events.dirty")
        self._writing = threading.Lock()
        self._closed = False
        self._wal_bytes = 0  # written since the last checkpoint, roughly
        with translated(self.path):
            self._writer = connect(self.path, "rw")
        try:
            with translated(self.path):
                self._writer.execute("PRAGMA wal_autocheckpoint=0")
                self._writer.execute("PRAGMA journal_size_limit=67108864")
                self._writer.execute("SELECT 1 FROM chains").fetchone()  # creates the -wal
            self._marker.write(wal=wal_of(self.path).stat().st_size > 0)
            self._inode = os.stat(self.path).st_ino
        except BaseException:
            close_writer(self._writer, self.path, self._marker)
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

        Parameters
        ----------
        newest_snapshots
            per model the ``seq`` of the newest snapshot in the store.
        accept_loss
            where the log would be refused, keep the events that verify, record what
            is missing as `gaps` and go on above the highest ``seq`` ever seen. A damaged
            file is kept aside, unchanged.

        Raises
        ------
        LogLocked
            another process has it open.
        LogDamaged, LogEndsEarly, LogIncomplete
            unless ``accept_loss``; nothing was changed.
        FormatUnknown
            written by a newer version, or not an event log; always.
        LogUnavailable
            the disk is full or failing.
        """
        directory.mkdir(parents=True, exist_ok=True)
        lock = take_lock(directory / "events.lock")
        try:
            finish_salvage(directory)
            path, high = directory / FILE_NAME, HighWater(directory / "events.high")
            marker = Marker(directory / "events.dirty")
            floor = dict(high.seqs)
            for model, seq in newest_snapshots.items():
                floor[model] = max(seq, floor.get(model, 0))
            try:
                # Who accepts a loss is told of all of it now, not when something old is read.
                chains = inspect(path, newest_snapshots, marker, everything=accept_loss)
                refuse_early_end(path, chains, floor)
            except LogRefused as refusal:
                if not accept_loss:
                    raise
                if isinstance(refusal, LogEndsEarly):
                    create_if_missing(path)
                    record_gaps(path, marker, chains, floor, str(refusal))
                else:
                    salvage(directory, newest_snapshots, floor, str(refusal))
                chains = inspect(path, newest_snapshots, marker)
            create_if_missing(path)
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

    def commit(self, events: Sequence[Record], batches: Sequence[Batch] = ()) -> None:
        """Append events, and insert or replace batches, in one transaction with one fsync.

        Raises
        ------
        ValueError
            an event's ``seq`` is not the one after its model's last, or a time is not
            finite; nothing was written.
        LogUnavailable
            the disk is full or failing; nothing was written, a later call may
            succeed.
        """
        with self._writing:
            chains: dict[str, Chain] = {}
            rows, size = [], 3 * PAGE_BYTES
            for event in events:
                chain = chains.get(event.model) or self._chain(event.model)
                if event.seq != chain.last + 1:
                    raise ValueError(
                        f"model {event.model!r}: expected seq {chain.last + 1}, found {event.seq}"
                    )
                row = event.row()
                head = checksum_of(chain.head, row)
                rows.append((*row, head))
                chains[event.model] = Chain(
                    chain.model, chain.pruned, chain.anchor, event.seq, head
                )
                size += len(event.payload) + len(event.reply)
            kept = [chained(batch.row()) for batch in batches]
            size += sum(len(batch.rows) + len(batch.reply) for batch in batches)
            if not rows and not kept:
                return
            self._still_there()
            with self._transaction() as writer:
                writer.executemany(INSERT_EVENT, rows)
                writer.executemany(UPSERT_BATCH, kept)
                writer.executemany(UPSERT_CHAIN, [chained(c.row()) for c in chains.values()])
                reach("log.before_commit")
            reach("log.after_commit")
            self._chains.update(chains)
            self._high.note({model: chain.last for model, chain in chains.items()})
            self._checkpoint_if_due(size)

    def prune(self, model: str, before_seq: int, received_before: float) -> int:
        """Drop events below ``before_seq`` and received earlier, up to the first that is neither.

        Batches received earlier go too. The caller passes the oldest kept snapshot and the
        idempotency horizon. Commits go on in between; freed pages are reused, the file keeps its
        size. Returns the number of events dropped.
        """
        dropped = 0
        while True:
            with self._writing:
                doomed = oldest(self._readers.fetch, model, before_seq, received_before)
                if not doomed:
                    break
                chain = self._chain(model)
                pruned, anchor = doomed[-1]
                chain = Chain(model, pruned, anchor, chain.last, chain.head)
                with self._transaction() as writer:
                    drop_events(writer, chain)
                self._chains[model] = chain
                self._checkpoint_if_due(len(doomed) * PAGE_BYTES // 8)
            dropped += len(doomed)
        self.forget(model, received_before)
        return dropped

    def forget(self, model: str, received_before: float) -> None:
        """Drop the batches received earlier, some hundred at a time."""
        deleted = 1
        while deleted:
            with self._writing, self._transaction() as writer:
                deleted = drop_batches(writer, model, received_before)
                self._wal_bytes += deleted * PAGE_BYTES // 4

    def probe(self) -> None:
        """Find out whether commits would succeed, by one: a page through the ``-wal``, synced.

        Nothing that is read changes. A disk with room for a page may yet refuse a larger commit.

        Raises
        ------
        LogUnavailable
            the disk is full or failing.
        """
        with self._writing:
            self._still_there()
            with self._transaction() as writer:
                writer.execute(f"PRAGMA user_version={FORMAT_VERSION}")  # as it is already
            self._checkpoint_if_due(PAGE_BYTES)

    def _still_there(self) -> None:
        """SQLite goes on writing to a file that was deleted; what it commits there is lost."""
        try:
            inode = os.stat(self.path).st_ino
        except OSError as error:
            raise unavailable(self.path, error) from error
        if inode != self._inode:
            raise unavailable(self.path, OSError("the file was replaced while it was open"))

    def close(self) -> None:
        """Fold the ``-wal`` into the file and note a clean stop. Closing twice is harmless."""
        with self._writing:
            if self._closed:
                return
            self._closed = True
            self._readers.close()
            try:
                self._high.save()
            finally:
                self._high.close()
                try:
                    close_writer(self._writer, self.path, self._marker)
                finally:
                    os.close(self._lock)

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
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction of the writer's; the caller holds ``_writing``."""
        writer = self._writer
        if self._closed:
            raise ValueError(f"{self.path}: the log is closed")
        self._marker.note_wal()
        with translated(self.path):
            writer.execute("BEGIN IMMEDIATE")
            try:
                yield writer
                writer.execute("COMMIT")
            except BaseException:
                if writer.in_transaction:  # SQLite has rolled back by itself when the disk is full
                    writer.execute("ROLLBACK")
                raise
