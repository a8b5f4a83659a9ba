"""What a verb is: an event without rows. `service.history.verbs` has one class for each."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

from service.state import State, events


class Effects(NamedTuple):
    """What a verb does once its event is committed; weights are `Verb.event`'s affair.

    Parameters
    ----------
    replaces
        The learner's whole state becomes that of the snapshot that it names; a snapshot of its own
        is taken of that, and becomes champion and candidate.
    crowns
        The version that it speaks of becomes champion.
    restarts_guard
        What the guard knew lies before a break. (It starts over with every new champion too.)
    restores_reference
        Drift is measured against what was in force at the snapshot that it names.
    """

    replaces: bool = False
    crowns: bool = False
    restarts_guard: bool = False
    restores_reference: bool = False

    @property
    def moves_champion(self) -> bool:
        """Whether another version is champion afterwards."""
        return self.replaces or self.crowns


@dataclass(frozen=True, slots=True)
class Verb:
    """What is done; `Order` says who does it to which model, and why."""

    kind: ClassVar[str]
    effects: ClassVar[Effects] = Effects()
    naming: ClassVar[str | None] = None
    """Which field is the snapshot that retention must spare for the event's sake."""

    @property
    def named(self) -> int | None:
        """The snapshot that it names."""
        return getattr(self, self.naming) if self.naming is not None else None

    @property
    def told(self) -> bool:
        """Whether it has a line in the audit trail."""
        return True

    def values(self) -> dict[str, Any]:
        """What its payload says."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != self.naming}

    def event(self, replacement: State | None) -> events.Ordered:
        """What it is to the state; ``replacement`` is the state that it names, where it does."""
        return events.Noted()


def replacing(verb: Verb, replacement: State | None) -> events.Replace:
    """Of a verb after which the state is ``replacement``."""
    if replacement is None:
        raise ValueError(f"{verb.kind} needs the state of snapshot {verb.named}")
    return events.Replace(replacement)
