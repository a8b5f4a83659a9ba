"""From records to a state: bitwise what the learner had."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from model_store.log.log import Gap, Record
from service.history.lessons import event_of
from service.history.verbs import replaces
from service.kernels.kernel import Kernel
from service.state import Reply, State

LoadState = Callable[[str, int], State]
"""(model, version) → the state of a stored snapshot, verified."""

Observe = Callable[[Record, State, Reply | None], None]


def unobserved(record: Record, state: State, reply: Reply | None) -> None:
    """Nobody looks."""


def replay(
    kernel: Kernel,
    state: State,
    records: Iterable[Record],
    load: LoadState,
    observe: Observe = unobserved,
    gaps: Sequence[Gap] = (),
) -> State:
    """Apply records in order; bitwise the state that the learner had, under the same software.

    ``observe`` is called after each record with the state and the reply; ``gaps`` are runs of
    events that a start with ``--accept-loss`` gave up.

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
        if replaces(record):
            assert record.snapshot is not None
            replacement = load(record.model, record.snapshot)
        state, reply = kernel.apply(state, event_of(record, replacement))
        observe(record, state, reply)
    return state
