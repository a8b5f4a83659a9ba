"""From durable bytes to a live model: ``state == replay(snapshot, log[snapshot.seq:])``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import structlog

from model_store.errors import LogPruned, SnapshotDamaged
from model_store.log.log import EventLog, Record
from model_store.snapshots.store import SnapshotStore
from service.config.model import Model
from service.errors import ConfigurationError
from service.evaluation.prequential import Prequential
from service.history.lessons import Lesson
from service.history.replay import replay
from service.history.verbs import TEACHING, Order, SetStepSize
from service.kernels.kernel import Kernel
from service.learner.specification import (
    differences,
    learning_configuration,
    resolved,
    schema_of,
)
from service.manifest import STATE, Manifest, sound
from service.publishing.proof import answers_golden_rows
from service.publishing.taking import load_score, load_state
from service.state import Reply, State
from service.state.file import from_bytes

log = structlog.get_logger()


class Replayed(NamedTuple):
    """An event that is no lesson, as replay met it: the state after it, and the prequential score
    by then, as arrays and as figures, the step size that the file had set, and the rows for which
    drift kept it raised."""

    record: Record
    state: State
    score: tuple[dict[str, Any], dict[str, Any]]
    configured_step_size: float
    raised_rows: int


class Recovered(NamedTuple):
    """Where a model goes on.

    Parameters
    ----------
    spec
        The model with every key that its file does not name.
    state, prequential
        As they were after the last durable event.
    snapshot
        The version that replay started from; None for a newborn.
    replayed
        Events replayed.
    verbs
        Events since then that are no lessons: what they do to aliases and trail may not have
        come about.
    configured_step_size
        What the configuration file set last.
    raised_rows
        Labelled rows for which drift still keeps the step size raised.
    """

    spec: Model
    state: State
    prequential: Prequential
    snapshot: int | None
    replayed: int
    verbs: list[Replayed]
    configured_step_size: float
    raised_rows: int


def newest_sound(store: SnapshotStore, model: str) -> tuple[Manifest, State] | None:
    """The newest snapshot whose files are what was written; damaged ones are quarantined."""

    def set_aside(version: int, error: Exception) -> None:
        log.error("snapshot damaged, quarantined", model=model, version=version, error=str(error))
        store.quarantine(model, version, str(error))

    for manifest in sound(store, model, set_aside):
        try:
            load_score(store, model, manifest.version)
            return manifest, from_bytes(store.read(model, manifest.version, STATE))
        except (SnapshotDamaged, ValueError) as error:
            set_aside(manifest.version, error)
    return None


def recover(
    spec: Model,
    store: SnapshotStore,
    events: EventLog,
    kernel: Kernel,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Recovered:
    """Newest sound snapshot, then the log behind it.

    Raises
    ------
    ConfigurationError
        The configuration asks for another network than the one stored, or this machine computes
        otherwise than the one that stored it.
    KernelMissing
        What is stored needs torch, and torch is not installed.
    StorageError
        The log has a hole where it is needed.
    """
    name, named = spec.name, set(spec.model_fields_set)
    prequential = Prequential(len(spec.classes), spec.score_window_rows)
    found = newest_sound(store, name)
    verbs: list[Replayed] = []
    raised_rows = 0
    if found is None:
        spec = resolved(spec, None)
        configured = spec.wanted_step_size
        born = kernel.initial(learning_configuration(spec))
        version, state = None, born._replace(kernel=spec.kernel)
    else:
        manifest, state = found
        version = manifest.version
        # Snapshots of older versions do not say; then it is what the state has.
        configured = manifest.configured_step_size or state.step_size
        spec = resolved(spec, manifest.learning, configured)
        if kernel.proved_by != "torch":
            kernel.check(state)
            answers_golden_rows(kernel, state, manifest)
        _same_network(spec, manifest)
        _same_log(name, store, events, manifest)
        prequential.restore(load_score(store, name, version))
        raised_rows = manifest.raised_rows
        # The verb that this snapshot was taken for may have got no further than that.
        score = prequential.arrays(), prequential.summary()
        verbs += [
            Replayed(record, state, score, configured, raised_rows)
            for record in _at(events, name, state.seq)
            if record.kind not in TEACHING
        ]
    total = events.count(name, after=state.seq)
    done = 0

    def observe(record: Record, after: State, reply: Reply | None) -> None:
        nonlocal done, configured, raised_rows
        done += 1
        if record.kind in TEACHING:
            assert reply is not None
            scored = Lesson.from_bytes(record.payload).scored(reply.probabilities)
            prequential.observe(*scored, record.line or "")
            raised_rows = max(0, raised_rows - len(scored[0]))
        else:
            order = Order.from_record(record)
            if isinstance(order.verb, SetStepSize):
                raised_rows = order.verb.raised_rows
                if not order.automatic:
                    configured = float(order.verb.step_size)
            score = prequential.arrays(), prequential.summary()
            verbs.append(Replayed(record, after, score, configured, raised_rows))
        progress(done, total)

    def load(model: str, number: int) -> State:
        return load_state(store, model, number)

    state = replay(
        kernel,
        state,
        events.events(name, after=state.seq),
        load,
        observe,
        events.gaps(name),
    )
    # Events that were lost for good are not numbered again.
    state = state._replace(seq=max(state.seq, events.last_seq(name)))
    now = {"step_size": configured, "kernel": state.kernel}
    unnamed = {key: value for key, value in now.items() if key not in named}
    spec = spec.model_copy(update=unnamed)
    kernel.check(state._replace(kernel=spec.kernel))
    return Recovered(spec, state, prequential, version, done, verbs, configured, raised_rows)


def _at(events: EventLog, model: str, seq: int) -> list[Record]:
    if seq < 1:
        return []
    try:
        return list(events.events(model, after=seq - 1, until=seq))
    except LogPruned:
        return []


def _same_log(model: str, store: SnapshotStore, events: EventLog, manifest: Manifest) -> None:
    """Refuse a log that another store's snapshots were taken of."""
    found = events.head_at(model, manifest.seq)
    # Older versions did not say; and what was pruned or given up as lost cannot be compared.
    if manifest.log_head is None or found is None or found == manifest.log_head:
        return
    raise ConfigurationError(
        f"model {model!r}: the store {store.location} and the log {events.path} do not belong "
        f"together: at event {manifest.seq} snapshot {manifest.version} expects a chain whose head "
        f"is {manifest.log_head[:16]}…, the log's is {found[:16]}…. Name the log that this store "
        "was written with."
    )


def _same_network(spec: Model, manifest: Manifest) -> None:
    """Refuse a configuration that describes another network than the stored one."""
    stored, wanted = dict(manifest.schema), schema_of(spec).to_json()
    # A name for people alone.
    del wanted["display_name"]
    # What a reading out of range counts as is decided before a row becomes an event.
    for side in (wanted, stored):
        side["features"] = [
            {key: value for key, value in feature.items() if key != "out_of_range"}
            for feature in side["features"]
        ]
    changed = differences(spec, manifest.learning)
    changed += [
        f"{key}: stored {stored.get(key)!r}, configured {value!r}"
        for key, value in wanted.items()
        if value != stored.get(key)
    ]
    if changed:
        lines = "; ".join(changed)
        raise ConfigurationError(
            f"model {spec.name!r}: the configuration describes another network than snapshot "
            f"{manifest.version} of it: {lines}. Give the new network another name, or another "
            "store."
        )
