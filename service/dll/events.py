"""Everything that may change a state. A model's events stand in one total order."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from service.dll.state import State

UNKNOWN = -1
"""The class index of a row without a label."""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A batch, some or all of whose rows are labelled; one step.

    Float32 results depend on the batch's shape, so the unlabelled rows belong to the event too.

    Parameters
    ----------
    rows
        (B, n_0) raw sensor units, NaN where missing; float32, or the state's dtype.
    labels
        (B,) int64 class indices, `UNKNOWN` where there is none; at least one is known.
    """

    rows: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Replace:
    """The whole state becomes another one, but for ``seq`` and whether it is frozen.

    A rollback names a snapshot, a rebase the snapshot that it made; whoever applies the event has
    loaded that state.
    """

    state: State


@dataclass(frozen=True, slots=True)
class Freeze:
    """Labels that follow are scored, not learned."""


@dataclass(frozen=True, slots=True)
class Thaw:
    """Labels that follow are learned again."""


@dataclass(frozen=True, slots=True)
class StepSize:
    """η becomes ``value``, positive and finite."""

    value: float


@dataclass(frozen=True, slots=True)
class Noted:
    """Has its place in the order, and changes nothing but ``seq``."""


Event = Labelled | Replace | Freeze | Thaw | StepSize | Noted
