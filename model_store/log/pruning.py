"""Dropping the oldest events and batches of a model, some hundred at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from model_store.log.database import UPSERT_CHAIN
from model_store.log.records import Chain, Row, chained

AT_ONCE = 500
"""Rows in one transaction: commits go on in between."""

Fetch = Callable[[str, Row], list[Row]]


def oldest(fetch: Fetch, model: str, before_seq: int, received_before: float) -> list[Row]:
    """(seq, checksum) of the oldest events that may go, up to the first that may not."""
    sql = (
        "SELECT seq, checksum, received_at FROM events WHERE model=? AND seq<?"
        f" ORDER BY seq LIMIT {AT_ONCE}"
    )
    doomed = []
    for seq, checksum, received_at in fetch(sql, (model, before_seq)):
        if received_at >= received_before:
            break
        doomed.append((seq, checksum))
    return doomed


def drop_events(writer: sqlite3.Connection, chain: Chain) -> None:
    """Delete the events that ``chain`` says are pruned, and store the chain."""
    writer.execute("DELETE FROM events WHERE model=? AND seq<=?", (chain.model, chain.pruned))
    writer.execute(UPSERT_CHAIN, chained(chain.row()))


def drop_batches(writer: sqlite3.Connection, model: str, received_before: float) -> int:
    """Delete some of the batches received earlier; how many."""
    stale = (
        "DELETE FROM batches WHERE rowid IN"
        f" (SELECT rowid FROM batches WHERE model=? AND received_at<? LIMIT {AT_ONCE})"
    )
    return writer.execute(stale, (model, received_before)).rowcount
