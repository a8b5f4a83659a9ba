"""What can go wrong, as the caller sees it. Status codes live in `service.api.problems` alone.

ApicalError
├── ConfigurationError        apical.toml is wrong, or does not fit what is stored
├── KernelMissing             the state needs torch, and torch is not installed
├── InvalidRequest            the data sent cannot be understood; carries the faults
│   ├── MalformedBody         not JSON, or not an object
│   └── TooLarge              more rows or bytes than the limit
├── Unauthenticated           no key, or none that is in use
├── Forbidden                 the key does not allow this
├── UnknownModel
├── UnknownSnapshot
├── LabelsRefused             a replica does not learn
├── Contradiction             a batch_id came again with other rows, or a label with another
├── Refused                   a verb that makes no sense in the present state
├── Overloaded                the queue is full: come again
│   └── TooOften              more in a second than one key may ask
└── Unavailable               not ready, or the log cannot be written: come again
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass


class ApicalError(Exception):
    """Base of all errors that a caller may want to tell apart."""


class ConfigurationError(ApicalError):
    """The configuration is wrong; the message names the key, what was expected and found."""


class KernelMissing(ApicalError):
    """What is stored can only be computed by torch, and torch is not installed here."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a request: where, what was expected, what was found."""

    field: str
    expected: str
    found: str
    row: int | None = None

    def __str__(self) -> str:
        where = self.field if self.row is None else f"row {self.row}, {self.field}"
        return f"{where}: expected {self.expected}, found {self.found}"


class InvalidRequest(ApicalError):
    """A request that a retry cannot mend; ``faults`` lists what is wrong with it."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = faults


class MalformedBody(InvalidRequest):
    """The body is not JSON, or not an object."""


class TooLarge(InvalidRequest):
    """More rows or bytes than the configured limit."""


class Unauthenticated(ApicalError):
    """Nobody known asks; ``reason`` is for the count of refusals."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Forbidden(Unauthenticated):
    """Somebody known asks for what they may not."""


class UnknownModel(ApicalError):
    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"expected one of the models {known}, found {name!r}")


class UnknownSnapshot(ApicalError):
    """No finished snapshot of that version."""


def unknown_version(found: str, versions: Sequence[str]) -> UnknownSnapshot:
    """A version that nothing here answers by."""
    return UnknownSnapshot(f"expected one of the versions {list(versions)}, found {found[:60]!r}")


class LabelsRefused(ApicalError):
    """Labels were sent to a replica."""


class Contradiction(ApicalError):
    """An idempotency key, or a label, came again with other content."""


class Refused(ApicalError):
    """A verb that makes no sense in the present state; the message says why."""


class NotFinite(ApicalError):
    """The network's numbers have blown up; the message says what brings it back."""


class Overloaded(ApicalError):
    """The queue is full; ``retry_after_s`` says when to come again."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooOften(Overloaded):
    """One key asks for more in a second than its share."""


class StagingLate(ApicalError):
    """The store takes long to keep a rebase's state; ``staging`` tells when it is done with it."""

    def __init__(self, message: str, staging: Future[int]) -> None:
        super().__init__(message)
        self.staging = staging


class Unavailable(Overloaded):
    """Not ready, or what was asked cannot be made durable now."""
