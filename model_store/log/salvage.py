"""Going on after a loss: what is missing is recorded, what is damaged is kept aside."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from model_store.durable import sync_directory
from model_store.failpoints import reach
from model_store.log.database import (
    BATCH_COLUMNS,
    CHAIN_COLUMNS,
    EVENT_COLUMNS,
    FILE_NAME,
    GAP_COLUMNS,
    INSERT_EVENT,
    INSERT_GAP,
    UPSERT_BATCH,
    UPSERT_CHAIN,
    connect,
    create,
    translated,
    wal_of,
)
from model_store.log.marks import Marker, close_writer
from model_store.log.records import Chain, Gap, Row, chained, checksum_of, is_sealed


def record_gaps(
    path: Path, marker: Marker, chains: Mapping[str, Chain], floor: Mapping[str, int], why: str
) -> None:
    with translated(path):
        target = connect(path, "rw")
        try:
            target.execute("BEGIN IMMEDIATE")
            for model, seq in floor.items():
                _record_gap(target, chains.get(model) or Chain(model), seq, why)
            target.execute("COMMIT")
        finally:
            close_writer(target, path, marker)


def salvage(directory: Path, newest: Mapping[str, int], floor: Mapping[str, int], why: str) -> None:
    """Put a new file in the place of a damaged one, with all that verifies and the gaps noted."""
    path = directory / FILE_NAME
    scratch = directory / "events.salvage"
    create(scratch)
    readable = path.exists() and path.stat().st_size > 0  # else SQLite would delete its -wal
    with (
        translated(scratch),
        contextlib.closing(connect(path if readable else scratch, "ro")) as old,
        contextlib.closing(connect(scratch, "rw")) as new,
    ):
        new.execute("BEGIN IMMEDIATE")
        saved: dict[str, _Salvage] = {}
        gaps = [row for row in _readable(old, GAP_COLUMNS, "gaps") if is_sealed(row)]
        new.executemany(INSERT_GAP, gaps)
        for row in _readable(old, CHAIN_COLUMNS, "chains"):
            if is_sealed(row):
                model, pruned, anchor, last, _ = row[:-1]
                jumps = {gap[1]: Gap(*gap[:-1]) for gap in gaps if gap[0] == model}
                chain = Chain(model, pruned, anchor, pruned, anchor)
                saved[model] = _Salvage(chain, newest.get(model, 0), jumps, last)
        for row in _readable(old, EVENT_COLUMNS, "events"):
            model = row[0]
            if not isinstance(model, str) or not isinstance(row[1], int):
                continue
            if model not in saved:
                saved[model] = _Salvage(Chain(model), newest.get(model, 0), {}, 0)
            if saved[model].keeps(row):
                new.execute(INSERT_EVENT, row)
        for model in floor:
            saved.setdefault(model, _Salvage(Chain(model), 0, {}, 0))
        for model, save in saved.items():
            if gap := save.bridged:
                row = (model, gap.from_seq, gap.to_seq, time.time(), why, gap.anchor)
                new.execute(INSERT_GAP, chained(row))
            if not save.broken:
                save.jump()
            # A name with nothing kept and nothing known of it is a damaged name.
            if save.chain.last or save.highest or model in floor:
                _record_gap(new, save.chain, max(save.highest, floor.get(model, 0)), why)
        for row in _readable(old, BATCH_COLUMNS, "batches"):
            if is_sealed(row):
                new.execute(UPSERT_BATCH, row)
        new.execute("COMMIT")
        # Closing the last connection does not fold the -wal in where that one only reads.
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    reach("log.salvage")
    # From here on every start finishes the exchange, see `finish_salvage`.
    os.replace(scratch, directory / f"events.salvaged-{time.time_ns()}.sqlite3")
    sync_directory(directory)
    finish_salvage(directory)


def finish_salvage(directory: Path) -> None:
    """Exchange damaged and salvaged file; each step can be repeated after a crash."""
    path = directory / FILE_NAME
    for salvaged in sorted(directory.glob("events.salvaged-*.sqlite3")):
        aside = salvaged.with_name(salvaged.name.replace("salvaged", "dropped"))
        for old, kept in ((wal_of(path), wal_of(aside)), (path, aside)):
            reach("log.salvage")
            if old.exists() and not kept.exists():
                os.replace(old, kept)
        path.with_name(FILE_NAME + "-shm").unlink(missing_ok=True)
        Marker(directory / "events.dirty").remove()
        reach("log.salvage")
        os.replace(salvaged, path)
        sync_directory(directory)


def _record_gap(target: sqlite3.Connection, chain: Chain, to_seq: int, why: str) -> None:
    """Let the chain go on above ``to_seq``."""
    if chain.last < to_seq:
        gap = (chain.model, chain.last + 1, to_seq, time.time(), why, chain.head)
        target.execute(INSERT_GAP, chained(gap))
        chain.last = to_seq
    target.execute(UPSERT_CHAIN, chained(chain.row()))


@dataclass(slots=True)
class _Salvage:
    """How far one model's chain could be saved."""

    chain: Chain  # what has been kept
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
            self.broken = not follows or checksum != checksum_of(self.chain.head, row[:-1])
        elif checksum == checksum_of(self.previous, row[:-1]):
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
