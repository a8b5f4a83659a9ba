"""Reading the event log against its checksums."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from model_store.errors import FormatUnknown, LogDamaged, LogEndsEarly, LogIncomplete, LogPruned
from model_store.log.database import (
    APPLICATION_ID,
    BATCH_COLUMNS,
    CHAIN_COLUMNS,
    EVENTS_OF,
    FORMAT_VERSION,
    GAP_COLUMNS,
    REMEDY,
    SCHEMA,
    connect,
    damaged,
    translated,
    wal_of,
)
from model_store.log.marks import Marker
from model_store.log.records import Chain, Gap, Record, Row, checksum_of, is_sealed

Fetch = Callable[[str, Row], list[Row]]


def inspect(
    path: Path, newest_snapshots: Mapping[str, int], marker: Marker, *, everything: bool = False
) -> dict[str, Chain]:
    """Check a log that nobody has open, changing nothing; its chains.

    ``everything``: also events that a snapshot covers, batches, and SQLite's own structure.
    """
    wal = wal_of(path)
    if marker.wal_expected() and not wal.exists():
        raise LogIncomplete(
            f"{wal}: expected to exist, since the log was not closed cleanly ({marker.path.name}"
            f" says so), found missing: what was committed last is gone. {REMEDY}"
        )
    # SQLite would delete a -wal that it finds beside an empty file.
    if not path.exists() or path.stat().st_size == 0:
        if path.exists() or wal.exists():
            raise damaged(path, f"expected an event log, found it empty or missing; {wal.name}"
                           f" {'exists' if wal.exists() else 'does not exist'}")  # fmt: skip
        return {}
    with translated(path), contextlib.closing(connect(path, "ro")) as connection:
        if not everything:
            return read_chains(connection, path, newest_snapshots)
        chains = read_chains(connection, path, {})
        for (verdict,) in connection.execute("PRAGMA integrity_check(1)"):
            if verdict != "ok":
                raise damaged(path, f"SQLite's integrity check says {verdict!r}")
        for row in connection.execute(f"SELECT {BATCH_COLUMNS} FROM batches"):
            if not is_sealed(row):
                raise damaged(path, f"model {row[0]!r}, batch {row[1]!r}: bad checksum")
        return chains


def read_chains(
    connection: sqlite3.Connection, path: Path, newest_snapshots: Mapping[str, int]
) -> dict[str, Chain]:
    """Check format, chains and each model's events after its newest snapshot; the chains.

    Raises
    ------
    FormatUnknown
        written by a newer version, or not an event log.
    LogDamaged
        it is not what was written.
    """

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
        raise damaged(path, "the tables are not those of its format")
    for table in ("chains", "gaps"):
        for (verdict,) in fetch(f"PRAGMA integrity_check({table})"):
            if verdict != "ok":
                raise damaged(path, f"table {table}: SQLite says {verdict!r}")
    chains = {}
    for row in fetch(f"SELECT {CHAIN_COLUMNS} FROM chains"):
        if not is_sealed(row):
            raise damaged(path, f"the record of the chain of {row[0]!r} has a bad checksum")
        chains[row[0]] = Chain(*row[:-1])
    model = ""
    for _ in range(len(chains) + 1):  # a damaged index may lead in circles
        model = fetch("SELECT min(model) FROM events WHERE model>?", (model,))[0][0]
        if model is None:
            break
        if model not in chains:
            raise damaged(path, f"the record of the chain of {model!r} is missing")
    for chain in chains.values():
        after = max(newest_snapshots.get(chain.model, 0), chain.pruned)
        for _ in walk(fetch, path, chain, after, chain.last):
            pass
    return chains


def refuse_early_end(path: Path, chains: Mapping[str, Chain], floor: Mapping[str, int]) -> None:
    for model, seq in floor.items():
        last = chains[model].last if model in chains else 0
        if last < seq:
            raise LogEndsEarly(
                f"{path}: model {model!r}: expected events up to seq {seq}, which a snapshot or"
                f" {path.with_name('events.high').name} proves to have existed, found the last at"
                f" seq {last}. {REMEDY}"
            )


def walk(
    fetch: Fetch, path: Path, chain: Chain, after: int, until: int
) -> Iterator[tuple[Record, bytes]]:
    """Events ``after`` < seq <= ``until`` with their checksums, each verified; all are there."""
    model = chain.model
    gaps = gaps_of(fetch, path, model)
    jumps = {gap.from_seq: gap for gap in gaps}
    seq, checksum = _start(fetch, path, chain, gaps, after)
    while seq < until:
        rows = fetch(f"{EVENTS_OF} AND seq>? AND seq<=? ORDER BY seq LIMIT 64", (model, seq, until))
        for row in rows:
            while gap := jumps.get(seq + 1):
                seq, checksum = gap.to_seq, gap.anchor
            if row[1] != seq + 1:
                raise _absent(fetch, path, model, seq + 1)
            checksum = checksum_of(checksum, row[:-1])
            if checksum != row[-1]:
                raise damaged(path, f"model {model!r}, seq {seq + 1}: the chain breaks here")
            seq += 1
            yield Record(*row[:-1]), checksum
        if not rows:
            gap = jumps.get(seq + 1)
            if gap is None:
                raise _absent(fetch, path, model, seq + 1)
            seq, checksum = gap.to_seq, gap.anchor
    if seq == chain.last and checksum != chain.head:
        raise damaged(path, f"model {model!r}, seq {seq}: the chain's end is not the one noted")


def _start(
    fetch: Fetch, path: Path, chain: Chain, gaps: Sequence[Gap], after: int
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


def gaps_of(fetch: Fetch, path: Path, model: str) -> list[Gap]:
    rows = fetch(f"SELECT {GAP_COLUMNS} FROM gaps WHERE model=? ORDER BY from_seq", (model,))
    if not all(map(is_sealed, rows)):
        raise damaged(path, f"model {model!r}: the record of a gap has a bad checksum")
    return [Gap(*row[:-1]) for row in rows]


def _absent(fetch: Fetch, path: Path, model: str, seq: int) -> LogPruned | LogDamaged:
    """An event is not there: was it pruned since the walk began, or is it lost?"""
    if fetch("SELECT 1 FROM chains WHERE model=? AND pruned>=?", (model, seq)):
        return LogPruned(f"{path}: model {model!r}, seq {seq}: pruned in the meantime")
    return damaged(path, f"model {model!r}, seq {seq}: expected an event, found none")
