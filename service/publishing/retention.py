"""Which snapshots of a live model may go, and letting them go."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from model_store.errors import SnapshotDamaged
from model_store.log.log import EventLog
from model_store.snapshots.pointed import aliased
from model_store.snapshots.store import SnapshotStore
from service.config import Model
from service.publishing.prunable import prunable

log = structlog.get_logger()


def prune(
    store: SnapshotStore,
    events: EventLog,
    spec: Model,
    now: float,
    held: Collection[int] = (),
    *,
    dry_run: bool = False,
) -> list[int]:
    """Delete, or name, the versions that nothing holds: not among the last, not marked, not an
    alias's lately, not named by an event that is kept, nor ``held`` by gate or guard."""
    model = spec.name
    versions = store.versions(model)
    if len(versions) <= spec.keep_snapshots:
        return []
    manifests = {}
    for version in versions:
        try:
            manifests[version] = store.manifest(model, version)
        except SnapshotDamaged:
            continue  # `verify` names it; what is damaged is never deleted
    doomed = prunable(
        versions,
        manifests,
        keep_last=spec.keep_snapshots,
        marked=store.marked(model),
        aliased=aliased(store, model, now - spec.keep_aliased_days * 86400),
        named=events.snapshots_named(model) | set(held),
    )
    if dry_run:
        return doomed
    for version in doomed:
        store.delete(
            model,
            version,
            f"beyond the last {spec.keep_snapshots}",
            seq=manifests[version]["seq"],
            audit=store.audit(model),
        )
    if doomed:
        log.info("snapshots pruned", model=model, versions=doomed)
    return doomed
