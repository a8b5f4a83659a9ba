"""What can be asked of a log, by any thread and while commits go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from model_store.log.chain import gaps_of, walk
from model_store.log.database import (
    BATCH_COLUMNS,
    copy_database,
    damaged,
    wal_of,
)
from model_store.log.parquet import write_events
from model_store.log.readers import Readers
from model_store.log.records import Batch, Chain, Gap, Record, is_sealed


class Reading:
    """The reading side of `EventLog`.

    Parameters
    ----------
    path
        Of the SQLite file.
    chains
        By model, of what has been checked; the writing side keeps it up to date.
    """

    def __init__(self, path: Path, chains: Mapping[str, Chain]) -> None:
        self.path = path
        self._chains = dict(chains)
        self._readers = Readers(path)

    def last_seq(self, model: str) -> int:
        """The last event's ``seq`` (or a gap's end, when nothing follows it); 0 when empty."""
        return self._chain(model).last

    def head(self, model: str) -> bytes:
        """The chain's checksum at the last event, 32 bytes; zeros when empty."""
        return self._chain(model).head

    def pruned(self, model: str) -> int:
        """The ``seq`` of the last event that was pruned; 0 when none was."""
        return self._chain(model).pruned

    def events(self, model: str, after: int = 0, until: int | None = None) -> Iterator[Record]:
        """The events with ``after`` < seq <= ``until``, in order, each verified before it is given.

        Ends at what was the last event when the iteration began. Jumps over recorded `gaps`. No
        transaction is held open between events.

        Raises
        ------
        LogPruned
            some of them were pruned; ``after=log.pruned(model)`` gives what is left.
        LogDamaged
            the events before this point were sound; this one is not, or is missing.
        """
        for event, _ in self._walk(model, after, until):
            yield event

    def count(self, model: str, after: int = 0, until: int | None = None) -> int:
        """How many retained events have ``after`` < seq <= ``until``."""
        bounds = (model, after, self.last_seq(model) if until is None else until)
        sql = "SELECT count(*) FROM events WHERE model=? AND seq>? AND seq<=?"
        return int(self._readers.fetch(sql, bounds)[0][0])

    def batch(self, model: str, batch_id: str) -> Batch | None:
        """What is remembered under this idempotency key. Raises LogDamaged if it was altered."""
        sql = f"SELECT {BATCH_COLUMNS} FROM batches WHERE model=? AND batch_id=?"
        for row in self._readers.fetch(sql, (model, batch_id)):
            if not is_sealed(row):
                raise damaged(self.path, f"model {model!r}, batch {batch_id!r}: bad checksum")
            return Batch(*row[:-1])
        return None

    def head_at(self, model: str, seq: int) -> str | None:
        """The head of the model's chain after event ``seq``, in hex; None where that event is not
        there: it is still to come, was pruned or is lost."""
        chain = self._chain(model)
        if seq == chain.pruned:
            return chain.anchor.hex()
        sql = "SELECT checksum FROM events WHERE model=? AND seq=?"
        found = self._readers.fetch(sql, (model, seq))
        return bytes(found[0][0]).hex() if found else None

    def latest_batch(self) -> float | None:
        """When the latest batch that is remembered was received; None where there is none."""
        found: float | None = self._readers.fetch("SELECT max(received_at) FROM batches", ())[0][0]
        return found

    def unlabelled(self, model: str, most: int) -> list[tuple[str, float]]:
        """Id and receipt in unix seconds, oldest first, of those of the latest ``most`` batches
        that have no label: all of theirs are −1, in int64."""
        latest = (
            "SELECT batch_id, received_at, labels FROM batches WHERE model=?"
            " ORDER BY received_at DESC LIMIT ?"
        )
        sql = f"SELECT batch_id, received_at FROM ({latest}) WHERE ltrim(hex(labels), 'F')=''"
        found = self._readers.fetch(f"{sql} ORDER BY received_at", (model, most))
        return [(str(batch_id), float(at)) for batch_id, at in found]

    def gaps(self, model: str) -> list[Gap]:
        """The ranges of events that were given up with ``accept_loss``, oldest first."""
        return gaps_of(self._readers.fetch, self.path, model)

    def snapshots_named(self, model: str) -> set[int]:
        """The versions of snapshots that retained events name; their snapshots must be kept."""
        sql = "SELECT DISTINCT snapshot FROM events WHERE model=? AND snapshot IS NOT NULL"
        return {row[0] for row in self._readers.fetch(sql, (model,))}

    def naming(self, model: str) -> Iterator[Record]:
        """The retained events that name a snapshot, in order; found by an index."""
        sql = "SELECT seq FROM events WHERE model=? AND snapshot IS NOT NULL ORDER BY seq"
        for (seq,) in self._readers.fetch(sql, (model,)):
            yield from self.events(model, after=seq - 1, until=seq)

    def export(self, model: str, path: Path, after: int, until: int | None = None) -> int:
        """Write events ``after`` < seq <= ``until`` to a Parquet file, one row each.

        The columns are the fields of `Record` and ``checksum``. The file appears under its name
        when it is complete and on the disk. Returns the number of events.

        Raises
        ------
        ModuleNotFoundError
            pyarrow is not installed.
        LogPruned, LogDamaged
            as `events`.
        """
        return write_events(path, self._walk(model, after, until))

    def backup(self, path: Path) -> None:
        """Write a consistent copy to one file while commits go on; it is on the disk on return.

        `model_store.restore.restore` makes a log of it again.
        """
        with self._readers.reading() as source:
            copy_database(source, path)

    def verify(self, model: str) -> int:
        """Check the model's whole chain and batches, and SQLite's own structure.

        Returns the number of events. Raises LogDamaged, naming file, model and ``seq``.
        """
        for row in self._readers.fetch("PRAGMA integrity_check(1)", ()):
            if row[0] != "ok":
                raise damaged(self.path, f"SQLite's integrity check says {row[0]!r}")
        ids = self._readers.fetch("SELECT batch_id FROM batches WHERE model=?", (model,))
        for (batch_id,) in ids:
            self.batch(model, batch_id)
        return sum(1 for _ in self._walk(model, self.pruned(model), None))

    def size(self) -> int:
        """Bytes on the disk, the ``-wal`` included."""
        return sum(p.stat().st_size for p in (self.path, wal_of(self.path)) if p.exists())

    def _chain(self, model: str) -> Chain:
        return self._chains.get(model) or Chain(model)

    def _walk(self, model: str, after: int, until: int | None) -> Iterator[tuple[Record, bytes]]:
        chain = self._chain(model)
        until = chain.last if until is None else min(until, chain.last)
        return walk(self._readers.fetch, self.path, chain, after, until)
