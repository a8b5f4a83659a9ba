"""Taking one snapshot: from a state to verified files in the store, and back."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from model_store.errors import SnapshotExists
from model_store.snapshots.store import SnapshotStore
from service.errors import Refused
from service.graph.check import GraphRefused, check_graph
from service.graph.forward import to_onnx
from service.graph.session import TOLERANCE, Session
from service.graph.step import CannotStep, step_graph
from service.kernels.kernel import Kernel
from service.manifest import GRAPH, SCORE, STATE, STEP, Manifest
from service.publishing.proof import ParityBroken, step_proved
from service.rows import Rows
from service.schema import Schema
from service.state import State
from service.state.configuration import to_json
from service.state.file import from_bytes, to_bytes

DRAWN_GOLDEN_ROWS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """What a snapshot is taken of: a committed state and what belongs beside it.

    Parameters
    ----------
    score, summary
        The prequential score as arrays to go on from, and as figures to read.
    recent
        (k, n) rows seen last, to be golden rows.
    cause
        birth, cadence, demand, shutdown, rollback, rebase or staged.
    parent
        The version that it comes from.
    event
        ``seq`` of the rollback or rebase that made this state.
    configured_step_size, raised_rows
        The step size of the configuration, and labelled rows for which drift keeps it raised.
    alarms
        What of `service.history.alarms` was open.
    log_head
        Head of the log's chain after the state's event: which log it belongs to.
    """

    model: str
    schema: Schema
    state: State
    score: dict[str, NDArray[Any]]
    summary: dict[str, Any]
    recent: Rows
    cause: str
    parent: int | None
    actor: str = "apical"
    reason: str = ""
    event: int | None = None
    drift_reference: dict[str, Any] | None = None
    steward: dict[str, Any] | None = None
    configured_step_size: float | None = None
    raised_rows: int = 0
    alarms: dict[str, Any] | None = None
    log_head: str | None = None


def golden_rows(schema: Schema, recent: Rows) -> Rows:
    """Rows that every replica must answer alike: drawn from the declared ranges, some readings
    missing, and the latest real ones behind them."""
    rng = np.random.default_rng(0)
    low = np.array([s.low for s in schema.sensors])
    high = np.array([s.high for s in schema.sensors])
    drawn = rng.uniform(low, high, (DRAWN_GOLDEN_ROWS, len(low))).astype(np.float32)
    listed = np.array([bool(s.values) for s in schema.sensors])
    drawn[:, listed] = np.rint(drawn[:, listed])
    drawn[rng.random(drawn.shape) < 0.1] = np.nan
    return np.concatenate([drawn, recent])


def take(store: SnapshotStore, kernel: Kernel, shot: Shot) -> Manifest:
    """Export, check parity, publish: the manifest as stored.

    Raises
    ------
    ParityBroken
        The graph's answers are not the network's, or its step is not.
    GraphRefused
        It is larger than replicas accept.
    StorageError
        The store refused; nothing was published.
    """
    state = shot.state
    graph = to_onnx(state)
    # What a replica would refuse must not become champion.
    check_graph(graph, shot.schema)
    rows = golden_rows(shot.schema, shot.recent)
    # Whoever runs the learner, torch proves what it publishes, where it is installed.
    prover = "torch" if kernel.proved_by == "torch" else state.kernel
    expected = kernel.forward(state._replace(kernel=prover), rows)
    difference = float(np.abs(Session(graph).probabilities(rows) - expected).max())
    if not difference <= TOLERANCE:
        raise ParityBroken(
            f"{shot.model} at seq {state.seq}: expected kernel and onnxruntime to agree to "
            f"{TOLERANCE:g}, found {difference:g}"
        )
    manifest = {
        "model": shot.model,
        "parent": shot.parent,
        "seq": state.seq,
        "updates": state.steps,
        "cause": shot.cause,
        "event": shot.event,
        "actor": shot.actor,
        "reason": shot.reason,
        "schema": shot.schema.to_json(),
        "learning": to_json(state.configuration),
        "step_size": state.step_size,
        "configured_step_size": shot.configured_step_size,
        "raised_rows": shot.raised_rows,
        "frozen": state.frozen,
        "prequential": shot.summary,
        "parity": {"rows": len(rows), "max_abs_diff": difference, "tolerance": TOLERANCE},
        "proved_by": kernel.proved_by,
        "golden": {
            "rows": [[None if np.isnan(v) else float(v) for v in row] for row in rows],
            "probabilities": expected.tolist(),
        },
        "drift_reference": shot.drift_reference,
        "steward": shot.steward,
        "alarms": shot.alarms,
        "software": kernel.software(),
        "log_head": shot.log_head,
    }
    files = {GRAPH: graph, STATE: to_bytes(state), SCORE: bytes(save_arrays(shot.score))}
    # What the graph cannot do, devices cannot either: then there is none.
    with contextlib.suppress(CannotStep):
        files[STEP] = step_graph(state)
        manifest["step"] = step_proved(kernel, state, files[STEP], rows)
    while True:
        try:
            version = store.next_version(shot.model)
            return Manifest.from_json(store.publish(shot.model, version, files, manifest))
        # A rebase is staged by the writer while the publisher may be taking a snapshot.
        except SnapshotExists:
            continue


def check_champion(store: SnapshotStore, model: str, version: int) -> None:
    """Everything that replicas and a later start need of a champion, byte by byte.

    Raises
    ------
    SnapshotDamaged, SnapshotMissing, StoreUnavailable
        A file is not what its manifest says, or cannot be read.
    Refused
        Replicas would refuse its graph.
    """
    manifest = store.manifest(model, version)
    files = {
        name: store.read(model, version, name, manifest=manifest) for name in manifest["files"]
    }
    try:
        from_bytes(files[STATE])
        check_graph(files[GRAPH], Schema.from_json(manifest["schema"]))
    except (GraphRefused, ValueError) as error:
        raise Refused(f"{model}: snapshot {version} cannot be champion: {error}") from error


def load_state(store: SnapshotStore, model: str, version: int) -> State:
    """The learner state of a stored snapshot, verified against its manifest."""
    return from_bytes(store.read(model, version, STATE))


def load_score(store: SnapshotStore, model: str, version: int) -> dict[str, NDArray[Any]]:
    """The prequential score saved with a snapshot."""
    return dict(load_arrays(store.read(model, version, SCORE)))
