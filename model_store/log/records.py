"""What the event log keeps: events, batches, gaps and chains, and the checksums over them."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

GENESIS = bytes(32)
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Record:
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

    def row(self) -> Row:
        """Its columns, in order, without the checksum over them."""
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

    def row(self) -> Row:
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
class Chain:
    """The retained part of one model's chain, ``pruned`` < seq <= ``last``."""

    model: str
    pruned: int = 0  # the last event that was pruned
    anchor: bytes = GENESIS  # and its checksum
    last: int = 0
    head: bytes = GENESIS

    def row(self) -> Row:
        return (self.model, self.pruned, self.anchor, self.last, self.head)


def checksum_of(previous: bytes, values: Iterable[Any]) -> bytes:
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


def chained(row: Row) -> Row:
    return (*row, checksum_of(GENESIS, row))


def is_sealed(row: Row) -> bool:
    return bool(row[-1] == checksum_of(GENESIS, row[:-1]))


def _real(value: float | None) -> float | None:
    """As SQLite gives it back: it keeps no NaN and no sign of zero."""
    if value is None:
        return None
    if not math.isfinite(value):
        raise ValueError(f"expected a time in Unix seconds, found {value}")
    return float(value) + 0.0
