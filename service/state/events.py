"""Everything that may change a state. A model's events stand in one total order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.rows import Labels
from service.state.state import State


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A batch, some or all of whose rows are labelled; one step.

    Float32 results depend on the batch's shape, so the unlabelled rows belong to the event too.

    Parameters
    ----------
    rows
        (B, n_0) raw sensor units, NaN where missing; in the network's precision.
    labels
        (B,) int64 class indices, `UNKNOWN` where there is none; at least one is known.
    """

    rows: NDArray[Any]
    labels: Labels


@dataclass(frozen=True, slots=True, eq=False)
class Replace:
    """The whole state becomes another one, but for ``seq``, kernel, whether it is frozen, and the
    lines in quarantine.

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
class UseKernel:
    """What follows is computed by another kernel; no tensor changes."""

    name: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The labels of a line do not teach from now on."""

    line: str


@dataclass(frozen=True, slots=True)
class Release:
    """The labels of a line teach again."""

    line: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Has its place in the order, and changes nothing but ``seq``."""


Ordered = Replace | Freeze | Thaw | StepSize | UseKernel | Quarantine | Release | Noted
Event = Labelled | Ordered


class Reply(NamedTuple):
    """What the network says of a batch: ``probabilities`` (B, n_L), before it learned from it.

    ``learned`` (B,) bool marks the rows that took part in the step that followed; ``members``
    (M, B, n_L) is what each member of an ensemble says by itself.
    """

    probabilities: NDArray[Any]
    learned: NDArray[np.bool_]
    members: NDArray[Any]


class Diagnosis(NamedTuple):
    """One network from inside, at one labelled batch; index l-1 holds layer l.

    ``error`` is the root mean square of ξ_l; ``update`` is ‖ΔW_l‖ / ‖W_l‖.
    """

    error: tuple[float, ...]
    update: tuple[float, ...]


def ordered(state: State, event: Ordered) -> State:
    """The state after an event that needs no arithmetic.

    Raises
    ------
    ValueError
        A step size that is not positive and finite.
    """
    seq = state.seq + 1
    match event:
        case Replace(state=other):
            kept = {key: getattr(state, key) for key in ("frozen", "kernel", "quarantined")}
            return other._replace(seq=seq, **kept)
        case Freeze():
            return state._replace(seq=seq, frozen=True)
        case Thaw():
            return state._replace(seq=seq, frozen=False)
        case UseKernel(name=name):
            return state._replace(seq=seq, kernel=name)
        case Quarantine(line=line):
            lines = tuple(sorted({*state.quarantined, line}))
            return state._replace(seq=seq, quarantined=lines)
        case Release(line=line):
            lines = tuple(each for each in state.quarantined if each != line)
            return state._replace(seq=seq, quarantined=lines)
        case Noted():
            return state._replace(seq=seq)
        case StepSize(value=value):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"step size: expected a positive finite number, found {value}")
            return state._replace(seq=seq, step_size=value)
