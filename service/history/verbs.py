"""Events without rows: one class a verb, what each does, and their bytes.

Bytes: a record's ``kind`` is the verb's; its ``snapshot`` the version that the verb names, if any;
its payload JSON of `Order.automatic`, `Order.cause` and the remaining values.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any

from model_store.log.log import Record
from service.history.verb import Effects, Verb, replacing
from service.state import State, events

TEACHING = ("batch", "late")
"""Kinds of records whose payload is rows and labels; all others are verbs."""


@dataclass(frozen=True, slots=True)
class Rollback(Verb):
    """The learner's whole state becomes that of a snapshot."""

    kind = "rollback"
    effects = Effects(replaces=True, restores_reference=True)
    naming = "snapshot"
    snapshot: int

    def event(self, replacement: State | None) -> events.Ordered:
        return replacing(self, replacement)


@dataclass(frozen=True, slots=True)
class Promote(Verb):
    """A snapshot becomes champion: held there by a person, or until the policy finds a better."""

    kind = "promote"
    effects = Effects(crowns=True)
    version: int
    pinned: bool


@dataclass(frozen=True, slots=True)
class Reject(Verb):
    """A candidate does not become champion."""

    kind = "reject"
    version: int
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Freeze(Verb):
    """Labels that follow are scored, not learned."""

    kind = "freeze"

    def event(self, replacement: State | None) -> events.Ordered:
        return events.Freeze()


@dataclass(frozen=True, slots=True)
class Thaw(Verb):
    """Labels that follow are learned again."""

    kind = "thaw"
    effects = Effects(restarts_guard=True)

    def event(self, replacement: State | None) -> events.Ordered:
        return events.Thaw()


@dataclass(frozen=True, slots=True)
class Quarantine(Verb):
    """Labels of ``line`` that follow are kept, and teach nobody; "" are those that name none."""

    kind = "quarantine"
    line: str

    def event(self, replacement: State | None) -> events.Ordered:
        return events.Quarantine(self.line)


@dataclass(frozen=True, slots=True)
class Release(Verb):
    """Labels of ``line`` that follow teach again."""

    kind = "release"
    line: str

    def event(self, replacement: State | None) -> events.Ordered:
        return events.Release(self.line)


@dataclass(frozen=True, slots=True)
class SetStepSize(Verb):
    """η becomes ``step_size``; drift lets it return after ``raised_rows`` labelled rows."""

    kind = "step_size"
    step_size: float
    raised_rows: int = 0

    def values(self) -> dict[str, Any]:
        raised = {"raised_rows": self.raised_rows} if self.raised_rows else {}
        return {"step_size": self.step_size, **raised}

    def event(self, replacement: State | None) -> events.Ordered:
        return events.StepSize(float(self.step_size))


@dataclass(frozen=True, slots=True)
class UseKernel(Verb):
    """What follows is computed by ``kernel``, of `service.kernels`."""

    kind = "kernel"
    kernel: str

    def event(self, replacement: State | None) -> events.Ordered:
        return events.UseKernel(self.kernel)


@dataclass(frozen=True, slots=True)
class Alarm(Verb):
    """Something was noticed, and nothing was done; ``again`` where such an alarm is open already,
    so that it is no news."""

    kind = "alarm"
    again: bool = False

    @property
    def told(self) -> bool:
        return not self.again

    def values(self) -> dict[str, Any]:
        return {"again": True} if self.again else {}


@dataclass(frozen=True, slots=True)
class Acknowledge(Verb):
    """Somebody has seen the open ``alarms``, which are the `seq` of the events that raised them."""

    kind = "acknowledge"
    alarms: list[int]


@dataclass(frozen=True, slots=True)
class RebaseBegin(Verb):
    """A rebase starts from snapshot ``base``."""

    kind = "rebase_begin"
    naming = "base"
    base: int
    selection: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rebase(Verb):
    """The state becomes what the rebase of event ``begin`` made, which is snapshot ``staged``.

    Parameters
    ----------
    excluded
        Ranges of ``seq``, both ends included, that it left out.
    excluded_lessons, excluded_rows, dropped_automatic_events
        How many of each.
    relearned
        Ranges of lessons that had been set aside in quarantine, and that it learned.
    learned_rows, held_rows, unlabelled_rows
        Of the lessons that it replayed, rows that taught, rows whose labels were held (frozen, or
        in quarantine), and rows without a label. Versions before this one did not say.
    """

    kind = "rebase"
    effects = Effects(replaces=True)
    naming = "staged"
    staged: int
    begin: int
    base: int
    excluded: list[list[int]]
    excluded_lessons: int
    excluded_rows: int
    dropped_automatic_events: int
    selection: dict[str, Any]
    relearned: list[list[int]] = field(default_factory=list)
    learned_rows: int | None = None
    held_rows: int | None = None
    unlabelled_rows: int | None = None

    def event(self, replacement: State | None) -> events.Ordered:
        return replacing(self, replacement)


@dataclass(frozen=True, slots=True)
class RebaseCancel(Verb):
    """Nothing came of the rebase of event ``begin``."""

    kind = "rebase_cancel"
    naming = "base"
    base: int
    begin: int


VERBS: dict[str, type[Verb]] = {
    verb.kind: verb
    for verb in (
        Rollback,
        Promote,
        Reject,
        Freeze,
        Thaw,
        Quarantine,
        Release,
        SetStepSize,
        UseKernel,
        Alarm,
        Acknowledge,
        RebaseBegin,
        Rebase,
        RebaseCancel,
    )
}


@dataclass(frozen=True, slots=True)
class Order:
    """A verb with who gives it and why.

    Parameters
    ----------
    automatic
        A detector did it, not a person.
    cause
        The first and last ``seq`` of the events that made it do so.
    evidence
        What the detector measured; of a person's verb the ``trace`` by which it came.
    """

    model: str
    verb: Verb
    actor: str
    reason: str
    automatic: bool = False
    cause: tuple[int, int] | None = None
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The verb's."""
        return self.verb.kind

    def values(self) -> dict[str, Any]:
        """What the event says beside its snapshot."""
        return {**self.verb.values(), **self.evidence}

    def to_record(self, seq: int, received_at: float) -> Record:
        """The event that it becomes; ``received_at`` in unix seconds."""
        payload = json.dumps(
            {"automatic": self.automatic, "cause": self.cause, "values": self.values()},
            sort_keys=True,
            # JSON has no infinity, and neither has the trail that this will be copied to.
            allow_nan=False,
        ).encode()
        return Record(
            self.model,
            seq,
            self.kind,
            received_at,
            payload,
            b"",
            actor=self.actor,
            reason=self.reason,
            snapshot=self.verb.named,
        )

    @classmethod
    def from_record(cls, record: Record) -> Order:
        """The inverse of `to_record`.

        Raises
        ------
        ValueError
            The record is none of a verb that this version knows.
        """
        known = VERBS.get(record.kind)
        if known is None:
            raise ValueError(f"event {record.seq}: unknown kind {record.kind!r}")
        value = json.loads(record.payload)
        said, cause = value["values"], value["cause"]
        own = {f.name: said.pop(f.name) for f in fields(known) if f.name in said}
        if known.naming is not None:
            own[known.naming] = record.snapshot
        return cls(
            record.model,
            known(**own),
            record.actor or "",
            record.reason or "",
            value["automatic"],
            tuple(cause) if cause else None,
            said,
        )


def replaces(record: Record) -> bool:
    """Whether a record is of a verb after which the state is that of the snapshot it names."""
    verb = VERBS.get(record.kind)
    return verb is not None and verb.effects.replaces


def moves_champion(record: Record) -> bool:
    """Whether a record is of a verb after which another version is champion."""
    verb = VERBS.get(record.kind)
    return verb is not None and verb.effects.moves_champion
