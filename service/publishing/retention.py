"""Which snapshots of a live model may go, and letting them go."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import structlog

from model_store.errors import SnapshotDamaged, SnapshotMissing
from model_store.log.log import EventLog
from model_store.snapshots.pointed import aliased
from model_store.snapshots.store import SnapshotStore
from service.manifest import GRAPH, Manifest, manifest_of

log = structlog.get_logger()


class Kept(NamedTuple):
    """What retention remembers of a manifest, which never changes: its event, and the digest of its
    graph, which tells whether two snapshots are of the same weights."""

    seq: int
    weights: str

    @classmethod
    def of(cls, manifest: Manifest) -> Kept:
        return cls(manifest.seq, manifest.document["files"].get(GRAPH, {}).get("sha256", ""))


class Retention:
    """Deletes the versions that nothing holds: not among the last, not marked, not an alias's
    lately, not named by an event that is kept, nor held by anybody here. Any thread may ask.

    Parameters
    ----------
    events
        Whose records name snapshots that must be spared.
    clock
        Unix seconds.
    """

    def __init__(self, store: SnapshotStore, events: EventLog, clock: Callable[[], float]) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._known: dict[tuple[str, int], Kept | None] = {}
        self._held: Counter[tuple[str, int]] = Counter()
        self._going: set[tuple[str, int]] = set()
        # Never held while the store is asked for anything.
        self._lock = threading.Lock()
        self._pruning = threading.Lock()

    def hold(self, model: str, version: int) -> None:
        """Spare a version until it is let go as often; raises SnapshotMissing if it goes now."""
        with self._lock:
            if (model, version) in self._going:
                raise SnapshotMissing(f"{model}: snapshot {version} is being deleted")
            self._held[model, version] += 1

    def let_go(self, model: str, version: int) -> None:
        """The opposite of `hold`."""
        with self._lock:
            self._held[model, version] -= 1
            if self._held[model, version] <= 0:
                del self._held[model, version]

    @contextmanager
    def holding(self, model: str, version: int) -> Iterator[None]:
        """Held until the block ends."""
        self.hold(model, version)
        try:
            yield
        finally:
            self.let_go(model, version)

    def prune(
        self,
        model: str,
        held: Collection[int] = (),
        *,
        keep_last: int,
        keep_aliased_days: float,
        dry_run: bool = False,
    ) -> list[int]:
        """Delete, or name, what may go; ``held`` are versions that gate and guard still need."""
        with self._pruning:
            versions = self._store.versions(model)
            if len(versions) <= keep_last:
                return []
            lately = keep_aliased_days * 86400
            doomed = prunable(
                versions,
                lambda version: self._kept(model, version),
                keep_last=keep_last,
                spared={
                    *self._store.marked(model),
                    *aliased(self._store, model, lately, self._clock()),
                    *self._events.snapshots_named(model),
                    *held,
                },
            )
            if dry_run:
                return doomed
            gone = [version for version in doomed if self._delete(model, version, keep_last)]
        if gone:
            log.info("snapshots pruned", model=model, versions=gone)
        return gone

    def _delete(self, model: str, version: int, keep_last: int) -> bool:
        kept = self._kept(model, version)
        with self._lock:
            if kept is None or (model, version) in self._held:
                return False
            self._going.add((model, version))
        try:
            # An event that named it while the others were looked at has let go of it by now.
            if version in self._events.snapshots_named(model):
                return False
            self._store.delete(
                model,
                version,
                f"beyond the last {keep_last}",
                seq=kept.seq,
                audit=self._store.audit(model),
            )
            del self._known[model, version]
            return True
        except SnapshotMissing:
            return False
        finally:
            with self._lock:
                self._going.discard((model, version))

    def _kept(self, model: str, version: int) -> Kept | None:
        """None for one that cannot be read: what is damaged is quarantined, never deleted."""
        if self._known.get((model, version)) is None:
            try:
                self._known[model, version] = Kept.of(manifest_of(self._store, model, version))
            except (SnapshotDamaged, SnapshotMissing):
                return None
        return self._known[model, version]


def prunable(
    versions: Collection[int],
    kept: Callable[[int], Kept | None],
    *,
    keep_last: int,
    spared: Collection[int] = (),
) -> list[int]:
    """Versions that nothing holds, ascending.

    Parameters
    ----------
    versions
        All finished ones.
    kept
        What is known of one; None where it could not be read. Such a one is never prunable, nor
        does it count among the last.
    keep_last
        How many of the newest stay, at least 1: recovery starts from the newest. Of a run of
        snapshots with the same weights only the newest counts and stays, so that nobody pushes the
        others out by asking for snapshots of what has not changed.
    spared
        Marked, pointed at, named or held.

    Raises
    ------
    ValueError
        ``keep_last`` is below 1.
    """
    if keep_last < 1:
        raise ValueError(f"keep_last: expected at least 1, found {keep_last}")
    doomed: list[int] = []
    counted, newer = 0, None
    for version in sorted(versions, reverse=True):
        if counted >= keep_last and version in spared:
            continue
        found = kept(version)
        if found is None:
            continue
        repeated = found.weights == newer and newer != ""
        newer = found.weights
        if not repeated and counted < keep_last:
            counted += 1
        elif version not in spared:
            doomed.append(version)
    return doomed[::-1]
