"""What a caller may want to tell apart.

ApicalClientError
├── Rejected        4xx: a retry cannot mend it; carries the problem document
├── TryAgain        429 or 503: nothing was learned; says when to come again
├── LabelsRefused   late labels that taught nothing: too late, or for an unknown batch
├── Unreachable     no answer; it is not known whether the request was taken
└── InvalidInput    rows, labels or an address that cannot be used; nothing was sent
"""

from __future__ import annotations

from typing import Any


class ApicalClientError(Exception):
    """Base of all errors of the client."""


class Rejected(ApicalClientError):
    """The server found the request wrong; ``problem`` is its RFC 9457 document."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('title', '')}: {problem.get('detail', '')}")
        self.status = status
        self.problem = problem


class TryAgain(ApicalClientError):
    """The server is overloaded or not ready; come again in ``retry_after_s`` seconds."""

    def __init__(self, status: int, problem: dict[str, Any], retry_after_s: float) -> None:
        super().__init__(f"{status} {problem.get('title', '')}: {problem.get('detail', '')}")
        self.status = status
        self.problem = problem
        self.retry_after_s = retry_after_s


class LabelsRefused(ApicalClientError):
    """Late labels that taught nothing; ``why``: ``too_late`` or ``unknown``; ``answer``: the reply,
    a `clients.answers.LabelsAnswer`."""

    def __init__(self, answer: Any, why: str) -> None:
        said = {
            "too_late": "too late: their batch is older than idempotency_days",
            "unknown": "for a batch that is not known; send its rows along",
        }[why]
        super().__init__(f"labels of {answer.batch_id!r} came {said}; nothing was learned by them")
        self.answer = answer
        self.why = why


class Unreachable(ApicalClientError):
    """Connection refused, broken or timed out. With a ``batch_id`` a retry is safe."""


class InvalidInput(ApicalClientError, ValueError):
    """Rows or labels that are none, where the message names row and sensor; or an address that is
    none. Nothing was sent."""
