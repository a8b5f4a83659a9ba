"""Which versions aliases point at, or pointed at lately."""

from __future__ import annotations

from model_store.snapshots.store import SnapshotStore


def aliased(store: SnapshotStore, model: str, since: float) -> set[int]:
    """Versions that an alias points at, or that were champion at or after a unix time."""
    found = {alias.version for alias in store.aliases(model)}
    trail = store.audit(model)
    for entry in trail.entries():
        if entry.at >= since:
            found |= {v for v in (entry.before, entry.after) if v is not None}
    if (live := trail.at(since)) is not None and live.after is not None:
        found.add(live.after)
    return found
