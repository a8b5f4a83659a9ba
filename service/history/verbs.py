"""Events without rows: what they are called, what each kind does, and their bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

TEACHING = ("batch", "late")
"""Kinds whose payload is rows and labels."""

REPLACING = ("rollback", "rebase")
"""Kinds that name a snapshot whose state becomes the learner's."""

NOTED = ("promote", "reject", "alarm", "rebase_begin", "rebase_cancel")
"""Kinds that change no weights: what they do happens to aliases, or later."""


@dataclass(frozen=True, slots=True)
class Order:
    """What an event without rows carries: an operator's verb, or what a detector did.

    Parameters
    ----------
    automatic
        A detector did it, not a person.
    cause
        The first and last ``seq`` of the events that made it do so.
    values
        What else the verb says, such as the ranges that a rebase leaves out.
    """

    automatic: bool = False
    cause: tuple[int, int] | None = None
    values: dict[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        return json.dumps(
            {"automatic": self.automatic, "cause": self.cause, "values": self.values},
            sort_keys=True,
            # JSON has no infinity, and neither has the trail that this will be copied to.
            allow_nan=False,
        ).encode()

    @classmethod
    def from_bytes(cls, payload: bytes) -> Order:
        value = json.loads(payload)
        cause = value["cause"]
        return cls(value["automatic"], tuple(cause) if cause else None, value["values"])


def automatic(cause: tuple[int, int], **values: Any) -> Order:
    """The order of a detector, with the range of events that made it give it."""
    return Order(automatic=True, cause=cause, values=values)
