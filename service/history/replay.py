"""Replay: the records of a log applied to a state, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from model_store.log.log import Gap, Record
from service.dll import Reply, State, apply
from service.history.lessons import REPLACING, event_of

LoadState = Callable[[str, int], State]
"""(model, version) → the state of a stored snapshot, verified."""


def ignore(record: Record, state: State, reply: Reply | None) -> None:
    """Observe nothing."""


def replay(
    state: State,
    records: Iterable[Record],
    load: LoadState,
    observe: Callable[[Record, State, Reply | None], None] = ignore,
    gaps: Sequence[Gap] = (),
) -> State:
    """Apply records in order; bitwise the state that the learner had, under the same software.

    ``observe`` is called after each record with the state and what the learner answered;
    ``gaps`` are runs of events that a start with ``--accept-loss`` gave up.

    Raises
    ------
    ValueError
        The records are not consecutive, and no gap says why.
    """
    for record in records:
        if record.seq != state.seq + 1:
            if not any(g.from_seq <= state.seq + 1 and g.to_seq == record.seq - 1 for g in gaps):
                raise ValueError(
                    f"{record.model}: expected event {state.seq + 1} next, found {record.seq}"
                )
            state = state._replace(seq=record.seq - 1)
        replacement = None
        if record.kind in REPLACING:
            assert record.snapshot is not None
            replacement = load(record.model, record.snapshot)
        state, reply = apply(state, event_of(record, replacement))
        observe(record, state, reply)
    return state
