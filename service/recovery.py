"""From durable bytes to a live model: ``state == replay(snapshot, log[snapshot.seq:])``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import NamedTuple

import structlog
from safetensors.numpy import load as load_arrays

from model_store.errors import SnapshotDamaged
from model_store.log import Event as Record
from model_store.log import EventLog
from model_store.snapshots import SnapshotStore
from service.config import Model
from service.dll import State, apply, from_bytes, initial
from service.errors import ConfigurationError
from service.live import LoadState, learning_configuration, schema_of
from service.publisher import SCORE, STATE
from service.records import REPLACING, TEACHING, Lesson, event_of
from service.scores import Prequential

log = structlog.get_logger()


class Recovered(NamedTuple):
    """Where a model goes on: its state and score, the snapshot it came from, and the state right
    after the last rollback or rebase whose own snapshot was never published, if there is one."""

    state: State
    prequential: Prequential
    snapshot: int | None
    replayed: int
    unpublished: list[tuple[Record, State]]


def replay(
    state: State,
    records: Iterable[Record],
    load: LoadState,
    observe: Callable[[Record, State, State], None] = lambda record, before, after: None,
    prequential: Prequential | None = None,
) -> State:
    """Apply records in order; bitwise the state that the learner had, under the same software.

    ``observe`` is called after each record; ``prequential`` is scored as the learner scored it.
    """
    for record in records:
        if record.seq != state.seq + 1:
            raise ValueError(
                f"{record.model}: expected event {state.seq + 1} next, found {record.seq}"
            )
        replacement = None
        if record.kind in REPLACING:
            assert record.snapshot is not None
            replacement = load(record.model, record.snapshot)
        before = state
        state, reply = apply(before, event_of(record, replacement))
        if prequential is not None and reply is not None and record.kind in TEACHING:
            prequential.observe(
                *Lesson.from_bytes(record.payload).scored(reply.probabilities.numpy())
            )
        observe(record, before, state)
    return state


def newest_sound(store: SnapshotStore, model: str) -> tuple[int, State] | None:
    """The newest snapshot whose files are what was written; damaged ones are quarantined."""
    for version in reversed(store.versions(model)):
        try:
            return version, from_bytes(store.read(model, version, STATE))
        except (SnapshotDamaged, ValueError) as error:
            log.error(
                "snapshot damaged, quarantined", model=model, version=version, error=str(error)
            )
            store.quarantine(model, version, str(error))
    return None


def recover(
    spec: Model,
    store: SnapshotStore,
    events: EventLog,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Recovered:
    """Newest sound snapshot, then the log behind it.

    Raises
    ------
    ConfigurationError
        The configuration asks for another network than the one stored.
    StorageError
        The log has a hole where it is needed.
    """
    prequential = Prequential(len(spec.classes), spec.score_window_rows)
    found = newest_sound(store, spec.name)
    if found is None:
        version, state = None, initial(learning_configuration(spec))
    else:
        version, state = found
        _same_network(spec, store, version)
        prequential.restore(load_arrays(store.read(spec.name, version, SCORE)))
    total = events.count(spec.name, after=state.seq)
    published = {store.manifest(spec.name, v).get("event") for v in store.versions(spec.name)}
    unpublished: list[tuple[Record, State]] = []
    done = 0

    def observe(record: Record, before: State, after: State) -> None:
        nonlocal done
        done += 1
        if record.kind in REPLACING and record.seq not in published:
            unpublished[:] = [(record, after)]
        progress(done, total)

    def load(model: str, number: int) -> State:
        return from_bytes(store.read(model, number, STATE))

    state = replay(state, events.events(spec.name, after=state.seq), load, observe, prequential)
    return Recovered(state, prequential, version, done, unpublished)


def _same_network(spec: Model, store: SnapshotStore, version: int) -> None:
    """Refuse a configuration that describes another network than the stored one."""
    manifest = store.manifest(spec.name, version)
    wanted = {**asdict(learning_configuration(spec)), **schema_of(spec).to_json()}
    stored = {**manifest["learning"], **manifest["schema"]}
    wanted["ranges"] = [list(pair) for pair in wanted["ranges"]]
    wanted["hidden"] = list(wanted["hidden"])
    # The step size changes by an event; what a reading out of range counts as is decided before
    # a row becomes an event.
    for side in (wanted, stored):
        side.pop("step_size")
        side["features"] = [{k: f[k] for k in ("name", "unit", "range")} for f in side["features"]]
    changed = [key for key in wanted if wanted[key] != stored.get(key)]
    if changed:
        lines = "; ".join(
            f"{key}: stored {stored.get(key)!r}, configured {wanted[key]!r}" for key in changed
        )
        raise ConfigurationError(
            f"model {spec.name!r}: the configuration describes another network than snapshot "
            f"{version} of it: {lines}. Give the new network another name, or another store."
        )
