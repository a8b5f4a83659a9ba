"""What a snapshot says of itself, with types, and which snapshots of a model are sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from model_store.errors import SnapshotDamaged, SnapshotMissing
from model_store.snapshots.store import SnapshotStore

GRAPH, STATE, SCORE = "model.onnx", "state.safetensors", "prequential.safetensors"
STEP = "step.onnx"
"""The files of a snapshot; `STEP` is left out where `service.graph.step` cannot do it."""

CHAMPION, CANDIDATE = "champion", "candidate"
"""The aliases of a model."""

STAGED = "staged"
"""Cause of a snapshot that a rebase made before its event: its state is not the log's at its seq,
so nothing may start from it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as the store keeps it; what a learner of before did not write is None or empty.

    Parameters
    ----------
    seq
        The event that its state is of.
    cause
        birth, cadence, demand, shutdown, rollback, rebase or staged.
    parent
        The version that it comes from.
    event
        ``seq`` of the rollback or rebase that made this state.
    created_at
        Unix seconds.
    configured_step_size, raised_rows
        The step size that the file set, and labelled rows for which drift keeps it raised.
    alarms
        Those that were open, as the log tells of them.
    log_head
        Head of the log's chain after its event, in hex: which log it belongs to.
    golden
        Rows and the probabilities that every replica must give them.
    document
        The whole of it, for pages that show it.
    """

    version: int
    seq: int
    updates: int
    cause: str
    digest: str
    created_at: float
    parent: int | None
    event: int | None
    schema: dict[str, Any]
    learning: dict[str, Any]
    prequential: dict[str, Any]
    golden: dict[str, Any]
    software: dict[str, Any]
    drift_reference: dict[str, Any] | None
    steward: dict[str, Any] | None
    configured_step_size: float | None
    raised_rows: int
    alarms: dict[str, Any] | None
    log_head: str | None
    document: dict[str, Any] = field(repr=False)

    @property
    def staged(self) -> bool:
        """Whether a rebase made it before its event; nothing may start from it."""
        return self.cause == STAGED

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Manifest:
        return cls(
            version=value["version"],
            seq=value["seq"],
            updates=value.get("updates", 0),
            cause=value.get("cause", ""),
            digest=value["digest"],
            created_at=value["created_at"],
            parent=value.get("parent"),
            event=value.get("event"),
            schema=value.get("schema", {}),
            learning=value.get("learning", {}),
            prequential=value.get("prequential", {}),
            golden=value.get("golden", {}),
            software=value.get("software", {}),
            drift_reference=value.get("drift_reference"),
            steward=value.get("steward"),
            configured_step_size=value.get("configured_step_size"),
            raised_rows=value.get("raised_rows", 0),
            alarms=value.get("alarms"),
            log_head=value.get("log_head"),
            document=value,
        )

    def to_json(self) -> dict[str, Any]:
        return self.document


def manifest_of(store: SnapshotStore, model: str, version: int) -> Manifest:
    """The manifest of one snapshot; raises as `SnapshotStore.manifest`."""
    return Manifest.from_json(store.manifest(model, version))


def skip(version: int, error: SnapshotDamaged) -> None:
    """Leave a damaged snapshot where it is; `verify` names it."""


def readable(
    store: SnapshotStore, model: str, damaged: Callable[[int, SnapshotDamaged], None] = skip
) -> Iterator[Manifest]:
    """Manifests of all finished snapshots that can be read, staged ones too, newest first;
    ``damaged`` is called with each of the others."""
    for version in reversed(store.versions(model)):
        try:
            found = manifest_of(store, model, version)
        except SnapshotDamaged as error:
            damaged(version, error)
        # Retention may have deleted it since the versions were listed.
        except SnapshotMissing:
            continue
        else:
            yield found


def sound(
    store: SnapshotStore, model: str, damaged: Callable[[int, SnapshotDamaged], None] = skip
) -> Iterator[Manifest]:
    """Those of them that a model may start from or be answered with: none that is staged."""
    return (manifest for manifest in readable(store, model, damaged) if not manifest.staged)
