"""What is remembered under a `batch_id`: the idempotency of batches and of their labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson

from model_store.log.log import Batch
from service.answers import probabilities_of
from service.errors import Contradiction
from service.history.lessons import digest
from service.rows import Labels, Probabilities, Rows


def label_key(labels: Labels | None, how: str) -> str:
    """What tells two label submissions for one batch apart; ``how`` is batch, late or relabel."""
    if labels is None:
        return "none"
    return f"{how}:{hashlib.sha256(labels.tobytes()).hexdigest()}"


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """One batch as it was answered, and all labels that have reached it.

    Parameters
    ----------
    rows
        (B, n) float32, as the network read them.
    labels
        (B,) int64, the labels known by now.
    then
        The first reply to the rows, whose predictions late labels are scored against; None where
        only labels (with their rows) were ever sent.
    replies
        Reply by `label_key`: a retry gets what the first try was answered.
    """

    model: str
    batch_id: str
    received_at: float
    seq: int
    rows: Rows
    labels: Labels
    then: bytes | None
    replies: dict[str, bytes] = field(default_factory=dict)
    line: str | None = None
    observed_at: float | None = None

    @property
    def digest(self) -> bytes:
        return digest(self.rows)

    def earlier(self) -> Probabilities | None:
        """The probabilities (B, K) predicted then."""
        return None if self.then is None else probabilities_of(self.then)

    def same_rows(self, rows: Rows) -> None:
        """Raises Contradiction unless ``rows`` are those that were sent at first."""
        if self.rows.shape != rows.shape or self.rows.tobytes() != rows.tobytes():
            raise Contradiction(
                f"batch_id {self.batch_id!r}: expected the rows that were sent with it at first "
                f"({len(self.rows)} rows), found {len(rows)} rows that differ; a new batch needs "
                "an id of its own"
            )

    def with_labels(self, labels: Labels, key: str, reply: bytes, *, forget: bool) -> Remembered:
        """After a label submission. ``forget`` drops the replies to earlier late labels: after a
        relabelling they would answer what is no longer so."""
        kept = {k: v for k, v in self.replies.items() if not forget or k.startswith("batch:")}
        return replace(self, labels=labels, replies={**kept, key: reply})

    def to_batch(self) -> Batch:
        replies = {key: reply.decode() for key, reply in self.replies.items()}
        then = None if self.then is None else self.then.decode()
        return Batch(
            model=self.model,
            batch_id=self.batch_id,
            received_at=self.received_at,
            seq=self.seq,
            digest=self.digest,
            rows=self.rows.tobytes(),
            labels=self.labels.tobytes(),
            reply=orjson.dumps({"then": then, "replies": replies}),
            line=self.line,
            observed_at=self.observed_at,
        )

    @classmethod
    def from_batch(cls, batch: Batch, sensors: int) -> Remembered:
        stored: dict[str, Any] = orjson.loads(batch.reply)
        then = stored["then"]
        return cls(
            model=batch.model,
            batch_id=batch.batch_id,
            received_at=batch.received_at,
            seq=batch.seq,
            rows=np.frombuffer(batch.rows, np.float32).reshape(-1, sensors),
            labels=np.frombuffer(batch.labels, np.int64),
            then=None if then is None else then.encode(),
            replies={key: reply.encode() for key, reply in stored["replies"].items()},
            line=batch.line,
            observed_at=batch.observed_at,
        )
