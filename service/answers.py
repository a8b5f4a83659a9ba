"""What a request is answered, as JSON bytes: stored beside the event, so a retry gets the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson

from service.rows import Probabilities, Rows
from service.schema import Readings

UNTRAINED = (
    "no snapshot that has learned is champion yet; one becomes it after its probation, or by "
    "`apical snapshots promote`"
)
"""What people are told while a model is untrained."""


class Question(NamedTuple):
    """The rows of a request that asks for predictions alone."""

    readings: Readings
    batch_id: str | None = None


def joined(questions: Sequence[Question]) -> tuple[Rows, Rows]:
    """Rows and raw rows (B, n) of several questions, one below the other; see `Readings`."""
    if len(questions) == 1:
        (readings, _) = questions[0]
        return readings.rows, readings.raw
    rows = np.concatenate([question.readings.rows for question in questions])
    if all(question.readings.raw is question.readings.rows for question in questions):
        return rows, rows
    return rows, np.concatenate([question.readings.raw for question in questions])


def parted(
    questions: Sequence[Question], probabilities: Probabilities
) -> Iterator[tuple[Question, Probabilities]]:
    """The inverse of `joined`, for what the rows got."""
    first = 0
    for question in questions:
        last = first + len(question.readings.rows)
        yield question, probabilities[first:last]
        first = last


@dataclass(frozen=True, slots=True)
class AnsweredBy:
    """Who answered: a learner after event ``seq``, or a replica with a snapshot taken then."""

    role: str
    seq: int
    snapshot: int


def batch_answer(
    model: str,
    classes: Sequence[str],
    probabilities: Probabilities,
    learned: Sequence[bool],
    by: AnsweredBy,
    batch_id: str | None,
    outcomes: Sequence[str] | None = None,
    untrained: bool = False,
) -> bytes:
    """The reply to rows: per row prediction, probabilities and whether it was learned.

    float32 values are written in their shortest form, which reads back as the same float32.
    ``outcomes`` says per row what became of its label, where labels were sent; ``untrained`` that
    nothing which has learned is champion yet.
    """
    answer: dict[str, Any] = {
        "model": model,
        "batch_id": batch_id,
        "answered_by": {"role": by.role, "seq": by.seq, "snapshot": by.snapshot},
        "classes": list(classes),
        "predictions": [classes[index] for index in probabilities.argmax(1)],
        "probabilities": np.ascontiguousarray(probabilities),
        "learned": list(learned),
    }
    if untrained:
        answer["status"] = "untrained"
    if outcomes is not None:
        answer["outcomes"] = list(outcomes)
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def with_replaced(answer: bytes, replaced: Mapping[str, Mapping[str, int]]) -> bytes:
    """A reply to rows that says how many readings were replaced, by kind and sensor.

    It is no part of what is remembered: a retry brings the same readings, and is told the same.
    """
    if not replaced:
        return answer
    return answer[:-1] + b',"replaced":' + orjson.dumps(replaced) + b"}"


def outcome_answer(
    model: str, batch_id: str, by: AnsweredBy, learned: Sequence[bool], outcomes: Sequence[str]
) -> bytes:
    """The reply to late labels: what became of each row's label."""
    return orjson.dumps(
        {
            "model": model,
            "batch_id": batch_id,
            "answered_by": {"role": by.role, "seq": by.seq, "snapshot": by.snapshot},
            "learned": list(learned),
            "outcomes": list(outcomes),
        }
    )


def probabilities_of(answer: bytes) -> Probabilities:
    """The probabilities (B, K) of a stored reply, bitwise."""
    return np.array(orjson.loads(answer)["probabilities"], np.float32)
