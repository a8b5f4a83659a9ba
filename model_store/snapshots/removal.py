"""How a snapshot goes: buried under a tombstone, set aside, or cleared away unfinished.

A number that was used once is never used again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress

from model_store.backends.backend import MANIFEST, Backend
from model_store.errors import KeyExists
from model_store.sealed import seal
from model_store.snapshots import layout


def bury(backend: Backend, model: str, version: int, why: str) -> None:
    """Write the tombstone, ahead of the removal."""
    key = f"{layout.folder(model, 'tombstones')}/{version:08d}.json"
    with suppress(KeyExists):  # an earlier attempt may have got this far
        backend.create(key, seal({"version": version, "why": why, "at": time.time()}))


def used(backend: Backend, model: str) -> set[int]:
    """Every number that a version begun, finished, quarantined or deleted has had."""
    kinds = ("snapshots", "quarantine", "tombstones")
    folders = (backend.children(layout.folder(model, kind)) for kind in kinds)
    return {number for names in folders for number in layout.numbers(names)}


def gone(backend: Backend, model: str, version: int) -> bool:
    """Whether a version was deleted or quarantined."""
    return any(
        version in layout.numbers(backend.children(layout.folder(model, kind)))
        for kind in ("quarantine", "tombstones")
    )


def set_aside(backend: Backend, model: str, version: int, why: str) -> None:
    """Move a snapshot to quarantine, with a note of why."""
    folder = layout.folder(model, "quarantine")
    taken = backend.children(folder)
    name, k = f"{version:08d}", 1
    while name in taken or f"{name}.json" in taken:
        k += 1
        name = f"{version:08d}-{k}"
    note = {"version": version, "why": why, "at": time.time()}
    backend.create(f"{folder}/{name}.json", seal(note))
    backend.move(layout.snapshot(model, version), f"{folder}/{name}")


def clear_unfinished(
    backend: Backend, model: str, spared_versions: Callable[[], Collection[int] | None]
) -> None:
    """Clear away what a crash left of publications.

    Parameters
    ----------
    spared_versions
        Asked only where something is left: the versions that an alias or a mark names. Such a one
        was finished once and lost its manifest, so it is set aside. None where that is unknown:
        then nothing may be deleted.
    """
    snapshots = layout.folder(model, "snapshots")
    names = backend.unfinished(snapshots)
    spared = spared_versions() if names else ()
    for name in names:
        if not name.isdigit() or not backend.void(f"{snapshots}/{name}"):
            continue
        if spared is None or int(name) in spared:
            set_aside(backend, model, int(name), "its manifest is gone")
            continue
        for key in backend.list(f"{snapshots}/{name}"):
            if not key.endswith("/" + MANIFEST):
                backend.delete(key)
