"""What is remembered under a `batch_id`: the idempotency of batches and of their labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import orjson

from model_store.log.log import Batch
from service.answers import AnsweredBy, outcome_answer, probabilities_of
from service.errors import Contradiction
from service.history.lessons import digest
from service.rows import Labels, Probabilities, Rows


def label_key(labels: Labels | None, how: str) -> str:
    """What tells two label submissions for one batch apart; ``how`` is batch, late or relabel."""
    if labels is None:
        return "none"
    return f"{how}:{hashlib.sha256(labels.tobytes()).hexdigest()}"


class Outcomes(NamedTuple):
    """The reply to late labels, kept small: what became of the rows that had one.

    A batch may get its labels row by row, and each time the whole of it is written anew.

    Parameters
    ----------
    seq, snapshot
        The state that it was answered from.
    size
        Rows of the batch.
    rows, words
        Which of them had a label, and what became of it.
    """

    seq: int
    snapshot: int
    size: int
    rows: list[int]
    words: list[str]

    @classmethod
    def of(cls, seq: int, snapshot: int, outcomes: list[str]) -> Outcomes:
        """From a word for each row."""
        rows = [row for row, word in enumerate(outcomes) if word != "unlabelled"]
        return cls(seq, snapshot, len(outcomes), rows, [outcomes[row] for row in rows])

    def answer(self, model: str, batch_id: str) -> bytes:
        """The reply itself."""
        outcomes = ["unlabelled"] * self.size
        for row, word in zip(self.rows, self.words, strict=True):
            outcomes[row] = word
        learned = [word in ("learned", "relabelled") for word in outcomes]
        by = AnsweredBy("learner", self.seq, self.snapshot)
        return outcome_answer(model, batch_id, by, learned, outcomes)


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
    received_at, arrived
        When it came: in seconds that nobody sets, and by the clock on the wall; a version before
        this one did not keep the latter.
    """

    model: str
    batch_id: str
    received_at: float
    seq: int
    rows: Rows
    labels: Labels
    then: bytes | None
    replies: dict[str, bytes | Outcomes] = field(default_factory=dict)
    line: str | None = None
    observed_at: float | None = None
    arrived: float | None = None

    @property
    def digest(self) -> bytes:
        return digest(self.rows)

    def reply(self, key: str) -> bytes:
        """What the first try with these labels was answered."""
        said = self.replies[key]
        return said.answer(self.model, self.batch_id) if isinstance(said, Outcomes) else said

    def answered(self, learned: list[bool], outcomes: list[str]) -> bytes | None:
        """The first reply once more, with what became of labels that came behind it."""
        if self.then is None:
            return None
        stored = orjson.loads(self.then)
        return bytes(orjson.dumps({**stored, "learned": learned, "outcomes": outcomes}))

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

    def with_labels(
        self, labels: Labels, key: str, reply: bytes | Outcomes, *, forget: bool
    ) -> Remembered:
        """After a label submission. ``forget`` drops the replies to earlier late labels: after a
        relabelling they would answer what is no longer so."""
        kept = {k: v for k, v in self.replies.items() if not forget or k.startswith("batch:")}
        return replace(self, labels=labels, replies={**kept, key: reply})

    def to_batch(self) -> Batch:
        replies = {
            key: list(said) if isinstance(said, Outcomes) else said.decode()
            for key, said in self.replies.items()
        }
        then = None if self.then is None else self.then.decode()
        return Batch(
            model=self.model,
            batch_id=self.batch_id,
            received_at=self.received_at,
            seq=self.seq,
            digest=self.digest,
            rows=self.rows.tobytes(),
            labels=self.labels.tobytes(),
            reply=orjson.dumps({"then": then, "replies": replies, "arrived": self.arrived}),
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
            # A version before this one kept whole replies.
            replies={
                key: said.encode() if isinstance(said, str) else Outcomes(*said)
                for key, said in stored["replies"].items()
            },
            line=batch.line,
            observed_at=batch.observed_at,
            arrived=stored.get("arrived"),
        )
