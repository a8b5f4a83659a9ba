"""Copies of a log and a store that belong together, taken while a learner writes to both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model_store.backends.backend import Backend
from model_store.backends.local import LocalBackend
from model_store.backends.locations import backend_at
from model_store.errors import KeyMissing, LogError, StoreError
from model_store.log.database import FILE_NAME, connect, copy_database
from model_store.log.restore import restore as restore_log
from model_store.snapshots.format import FORMAT_KEY
from model_store.snapshots.store import MAX_FILE_BYTES, SnapshotStore
from model_store.snapshots.verification import verify

STORE = "store"


@dataclass(frozen=True, slots=True)
class Copied:
    """How much was copied: snapshots per model, and bytes of the log."""

    snapshots: dict[str, int]
    log_bytes: int


def backup(log: Path, store: str, directory: Path) -> Copied:
    """Copy log and store into a new directory, as ``events.sqlite3`` and ``store/``.

    What only ever grows is copied after what refers to it: the log last, so that it reaches at
    least as far as every snapshot in the copy. The copy is verified before this returns.

    Raises
    ------
    StoreError
        The directory is not empty, or the copy does not verify.
    StorageError
        Log or store cannot be read.
    """
    _there(log)
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise StoreError(
            f"{directory}: expected an empty directory for the backup, "
            f"found {sorted(p.name for p in directory.iterdir())[:5]}"
        )
    source, target = backend_at(store), LocalBackend(directory / STORE)
    with contextlib.closing(source):
        for key in _in_order(source):
            # Retention may take a snapshot away meanwhile; what needs it is kept by then.
            with contextlib.suppress(KeyMissing):
                target.create(key, source.get(key, MAX_FILE_BYTES))
    copy_log(log, directory)
    return Copied(_verified(directory / STORE), (directory / FILE_NAME).stat().st_size)


def copy_log(log: Path, directory: Path) -> None:
    """Copy a log into ``directory``, also while a learner writes to it: the copy holds still.

    Raises
    ------
    LogError
        There is none.
    """
    _there(log)
    with contextlib.closing(connect(log / FILE_NAME, "ro")) as database:
        copy_database(database, directory / FILE_NAME)


def _there(log: Path) -> None:
    if not (log / FILE_NAME).exists():
        raise LogError(f"{log / FILE_NAME}: expected an event log, found none")


def restore(directory: Path, log: Path, store: str) -> Copied:
    """Put a backup in place where there is neither log nor store.

    Raises
    ------
    StoreError
        There is a store already, or the backup does not verify; nothing was written.
    LogError
        There is a log already.
    """
    snapshots = _verified(directory / STORE)
    target = backend_at(store)
    with contextlib.closing(target):
        if target.children("models"):
            raise StoreError(
                f"{store}: expected no store, found models "
                f"{target.children('models')[:5]}; restore into a new place"
            )
        restore_log(directory / FILE_NAME, log)
        source = LocalBackend(directory / STORE)
        for key in _in_order(source):
            target.create(key, source.get(key, MAX_FILE_BYTES))
    return Copied(snapshots, (directory / FILE_NAME).stat().st_size)


def _in_order(source: Backend) -> Iterator[str]:
    """Aliases before the snapshots that they name, the trail after the manifests that name its
    head, and of each snapshot the manifest last."""
    yield FORMAT_KEY
    for model in source.children("models"):
        folder = f"models/{model}"
        yield from source.list(f"{folder}/aliases")
        for name in source.published(f"{folder}/snapshots"):
            keys = source.list(f"{folder}/snapshots/{name}")
            yield from sorted(keys, key=lambda key: (key.endswith("/manifest.json"), key))
        for kind in source.children(folder):
            if kind not in ("aliases", "snapshots"):
                yield from source.list(f"{folder}/{kind}")


def _verified(location: Path) -> dict[str, int]:
    store = SnapshotStore.open(location)
    problems = [str(p) for model in store.models() for p in verify(store, model)]
    if problems:
        raise StoreError(f"{location}: {'; '.join(problems[:5])}")
    return {model: len(store.versions(model)) for model in store.models()}
