"""What a replica answers from: snapshots that were checked, and those that were not good enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from model_store.snapshots.aliases import Alias
from model_store.snapshots.store import SnapshotStore
from service.answers import UNTRAINED, AnsweredBy, Question, batch_answer, joined, parted
from service.errors import NotFinite, Unavailable, unknown_version
from service.graph.check import MAX_BYTES, check_graph
from service.graph.session import TOLERANCE, Session, golden_difference
from service.manifest import GRAPH, Manifest
from service.schema import Schema
from service.watcher import Watcher


class SnapshotRefused(Exception):
    """A snapshot did not pass a check; the message says which."""


class Serving(NamedTuple):
    """One version, ready to answer. Everything that a reply names comes from one such value, so a
    swap in the middle of a request cannot mix two versions."""

    version: int
    seq: int
    schema: Schema
    session: Session
    manifest: Manifest
    by: AnsweredBy


class Followed:
    """One model of the replica: what it serves, and what served before."""

    def __init__(self, name: str, watcher: Watcher) -> None:
        self.name = name
        self._watcher = watcher
        self.serving: Serving | None = None
        self.previous: Serving | None = None
        self.alias: Alias | None = None
        self.refused: tuple[int, str] | None = None
        self.untrained = False
        """No champion has learned anything yet; the newest snapshot is served instead."""

    @property
    def schema(self) -> Schema:
        return self.now().schema

    @property
    def status(self) -> str:
        return "untrained" if self.untrained else "champion"

    @property
    def versions(self) -> tuple[str, ...]:
        """What can be asked for, the default first."""
        held = self.now(), self.previous
        return tuple(str(serving.version) for serving in held if serving is not None)

    def predict(self, questions: Sequence[Question], version: str | None = None) -> list[bytes]:
        """Raises Unavailable, UnknownSnapshot, NotFinite."""
        serving = self.now() if version is None else self._held(version)
        rows, raw = joined(questions)
        probabilities = serving.session.probabilities(rows)
        if np.count_nonzero(np.isfinite(probabilities)) != probabilities.size:
            raise NotFinite(
                f"{self.name}: expected finite probabilities, found others in snapshot "
                f"{serving.version}; roll the learner back to another"
            )
        self._watcher.see(self.name, raw, probabilities)
        classes, by, untrained = serving.schema.classes, serving.by, self.untrained
        return [
            batch_answer(
                self.name, classes, part, [False] * len(part), by, batch_id, untrained=untrained
            )
            for (_, batch_id), part in parted(questions, probabilities)
        ]

    def _held(self, version: str) -> Serving:
        for serving in (self.now(), self.previous):
            if serving is not None and str(serving.version) == version:
                return serving
        raise unknown_version(version, self.versions)

    def now(self) -> Serving:
        """What it answers from; raises Unavailable while there is nothing."""
        serving = self.serving
        if serving is None:
            if self.untrained:
                raise Unavailable(f"model {self.name!r}: untrained: {UNTRAINED}")
            why = (
                f": snapshot {self.refused[0]} was refused: {self.refused[1]}"
                if self.refused
                else ""
            )
            raise Unavailable(f"model {self.name!r}: no champion to serve yet{why}")
        return serving


def load(store: SnapshotStore, model: str, version: int) -> Serving:
    """Read a snapshot and check its digests, its graph and its golden rows.

    Raises
    ------
    SnapshotRefused
        It answers its golden rows otherwise than the learner did.
    GraphRefused
        The graph is not one that the learner makes.
    StorageError
        It cannot be read, or is not what was written.
    """
    document = store.manifest(model, version)
    manifest = Manifest.from_json(document)
    schema = Schema.from_json(manifest.schema)
    graph = store.read(model, version, GRAPH, manifest=document, limit=MAX_BYTES)
    check_graph(graph, schema)
    session = Session(graph)
    difference = golden_difference(session, manifest.golden)
    if not difference <= TOLERANCE:
        raise SnapshotRefused(
            f"snapshot {version}: expected its golden rows to agree to {TOLERANCE:g}, "
            f"found a difference of {difference:g}"
        )
    by = AnsweredBy("replica", manifest.seq, version)
    return Serving(version, manifest.seq, schema, session, manifest, by)
