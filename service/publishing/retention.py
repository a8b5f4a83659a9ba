"""Which snapshots of a live model may go, and letting them go."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from model_store.log.log import EventLog
from model_store.snapshots.pointed import aliased
from model_store.snapshots.store import SnapshotStore
from service.manifest import readable

log = structlog.get_logger()


def prune(
    store: SnapshotStore,
    events: EventLog,
    model: str,
    now: float,
    held: Collection[int] = (),
    *,
    keep_last: int,
    keep_aliased_days: float,
    dry_run: bool = False,
) -> list[int]:
    """Delete, or name, the versions that nothing holds: not among the last, not marked, not an
    alias's lately, not named by an event that is kept, nor ``held`` by gate or guard."""
    versions = store.versions(model)
    if len(versions) <= keep_last:
        return []
    # What is damaged is never deleted; `verify` names it.
    seqs = {manifest.version: manifest.seq for manifest in readable(store, model)}
    doomed = prunable(
        versions,
        seqs,
        keep_last=keep_last,
        marked=store.marked(model),
        aliased=aliased(store, model, now - keep_aliased_days * 86400),
        named=events.snapshots_named(model) | set(held),
    )
    if dry_run:
        return doomed
    for version in doomed:
        store.delete(
            model,
            version,
            f"beyond the last {keep_last}",
            seq=seqs[version],
            audit=store.audit(model),
        )
    if doomed:
        log.info("snapshots pruned", model=model, versions=doomed)
    return doomed


def prunable(
    versions: Collection[int],
    intact: Collection[int],
    *,
    keep_last: int,
    marked: Collection[int] = (),
    aliased: Collection[int] = (),
    named: Collection[int] = (),
) -> list[int]:
    """Versions that nothing holds, ascending.

    Parameters
    ----------
    versions
        All finished ones.
    intact
        Those whose manifests could be read. One that could not is never prunable, nor does it
        count among the last: a damaged snapshot is quarantined, not deleted.
    keep_last
        How many of the newest stay, at least 1: recovery starts from the newest.
    marked, aliased, named
        Marked ``keep``; pointed at by an alias now or lately; named by a retained event.

    Raises
    ------
    ValueError
        ``keep_last`` is below 1.
    """
    if keep_last < 1:
        raise ValueError(f"keep_last: expected at least 1, found {keep_last}")
    sound = sorted(version for version in versions if version in intact)
    held = {*sound[-keep_last:], *marked, *aliased, *named}
    return [version for version in sound if version not in held]
