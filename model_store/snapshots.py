"""Snapshots and their aliases: immutable versions, and small files that point at them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from model_store import failpoints
from model_store.errors import (
    AliasConflict,
    Conflict,
    FormatUnknown,
    KeyExists,
    KeyMissing,
    SnapshotDamaged,
    SnapshotMissing,
    StoreLocked,
)
from model_store.local import LocalBackend

FORMAT = 1
MANIFEST = "manifest.json"
MANIFEST_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Alias:
    """A name for a version; ``generation`` counts its changes, ``pinned`` holds it there."""

    name: str
    version: int
    generation: int
    updated_at: float
    pinned: bool
    seq: int


def _canonical(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()


class SnapshotStore:
    """Snapshots of all models in one place.

    Use `open`. Without ``write`` nothing is changed, and no lock is needed.
    """

    def __init__(self, backend: LocalBackend, lock: IO[bytes] | None) -> None:
        self._backend = backend
        self._lock = lock

    @classmethod
    def open(cls, location: str | Path, *, write: bool = False) -> SnapshotStore:
        """Open a store; ``write`` creates it if needed and takes the learner's lock.

        Raises
        ------
        StoreLocked
            Another process has it open for writing.
        FormatUnknown
            It was written by a version that this one does not know.
        """
        root = Path(location)
        backend = LocalBackend(root)
        lock = None
        if write:
            root.mkdir(parents=True, exist_ok=True)
            lock = (root / "lock").open("a+b")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().decode()
                lock.close()
                raise StoreLocked(f"{root}: expected no other learner, found {holder}") from None
            lock.truncate(0)
            lock.write(f"process {os.getpid()}".encode())
            lock.flush()
            backend.sweep()
            try:
                backend.create("format.json", json.dumps({"format": FORMAT}).encode())
            except KeyExists:
                pass
        try:
            found = json.loads(backend.get("format.json")).get("format")
        except KeyMissing:
            found = FORMAT
        if found != FORMAT:
            if lock is not None:
                lock.close()
            raise FormatUnknown(
                f"{root}: expected a store of format {FORMAT}, found {found!r}; "
                "use the version of the software that wrote it"
            )
        return cls(backend, lock)

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def models(self) -> list[str]:
        return self._backend.children("models")

    def versions(self, model: str) -> list[int]:
        """Finished versions, ascending."""
        return [
            int(name)
            for name in self._backend.children(f"models/{model}/snapshots")
            if name.isdigit()
        ]

    def next_version(self, model: str) -> int:
        """One above every version there ever was."""
        gone = [
            int(name.split("-")[0]) for name in self._backend.children(f"models/{model}/quarantine")
        ]
        return max([0, *self.versions(model), *gone]) + 1

    def publish(
        self, model: str, version: int, files: Mapping[str, bytes], manifest: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Write one snapshot, all or nothing: the manifest with what was filled in.

        Raises
        ------
        KeyExists
            The version is taken.
        """
        filled: dict[str, Any] = {
            **manifest,
            "format": FORMAT,
            "version": version,
            "created_at": time.time(),
            "files": {
                name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
                for name, data in files.items()
            },
        }
        filled["digest"] = hashlib.sha256(_canonical(filled)).hexdigest()
        self._backend.publish(self._folder(model, version), {**files, MANIFEST: _canonical(filled)})
        failpoints.reach("snapshot.renamed")
        return filled

    def manifest(self, model: str, version: int) -> dict[str, Any]:
        """Raises SnapshotMissing, SnapshotDamaged."""
        key = f"{self._folder(model, version)}/{MANIFEST}"
        try:
            data = self._backend.get(key, MANIFEST_BYTES)
        except KeyMissing as error:
            raise SnapshotMissing(f"{model}: snapshot {version}: {error}") from error
        try:
            manifest: dict[str, Any] = json.loads(data)
            digest = manifest.pop("digest")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise SnapshotDamaged(
                f"{self._backend}/{key}: expected a manifest, found {error!r}"
            ) from error
        found = hashlib.sha256(_canonical(manifest)).hexdigest()
        if found != digest:
            raise SnapshotDamaged(f"{self._backend}/{key}: expected sha256 {digest}, found {found}")
        return {**manifest, "digest": digest}

    def read(self, model: str, version: int, name: str) -> bytes:
        """One file, verified against the manifest before it is returned."""
        expected = self.manifest(model, version)["files"][name]
        key = f"{self._folder(model, version)}/{name}"
        try:
            data = self._backend.get(key, expected["size"])
        except KeyMissing as error:
            raise SnapshotDamaged(str(error)) from error
        found = hashlib.sha256(data).hexdigest()
        if len(data) != expected["size"] or found != expected["sha256"]:
            raise SnapshotDamaged(
                f"{self._backend}/{key}: expected {expected['size']} bytes of sha256 "
                f"{expected['sha256']}, found {len(data)} of {found}"
            )
        return data

    def quarantine(self, model: str, version: int, why: str) -> None:
        """Move a damaged snapshot out of the way; it is kept."""
        target = f"models/{model}/quarantine/{version:08d}-{time.time_ns()}"
        self._backend.move(self._folder(model, version), target)
        self._backend.create(f"{target}/why.txt", why.encode())

    def alias(self, model: str, name: str) -> Alias | None:
        try:
            value = json.loads(self._backend.get(self._alias_key(model, name)))
        except KeyMissing:
            return None
        return Alias(
            name,
            value["version"],
            value["generation"],
            value["updated_at"],
            value["pinned"],
            value["seq"],
        )

    def set_alias(
        self,
        model: str,
        name: str,
        version: int,
        *,
        generation: int,
        seq: int,
        pinned: bool = False,
    ) -> Alias:
        """Compare and swap: ``generation`` is the one expected now, 0 for none.

        Raises
        ------
        AliasConflict
            It is another one; nothing was changed.
        """
        key = self._alias_key(model, name)
        alias = Alias(name, version, generation + 1, time.time(), pinned, seq)
        data = json.dumps(
            {
                "version": version,
                "generation": alias.generation,
                "updated_at": alias.updated_at,
                "pinned": pinned,
                "seq": seq,
            }
        ).encode()
        try:
            if generation == 0:
                self._backend.create(key, data)
            else:
                now, tag = self._backend.get_tagged(key)
                found = json.loads(now)["generation"]
                if found != generation:
                    raise AliasConflict(
                        f"{self._backend}/{key}: expected generation {generation}, found {found}"
                    )
                self._backend.replace(key, data, tag)
        except (KeyExists, KeyMissing, Conflict) as error:
            if isinstance(error, AliasConflict):
                raise
            raise AliasConflict(f"{error}: expected generation {generation}") from error
        return alias

    @staticmethod
    def _folder(model: str, version: int) -> str:
        return f"models/{model}/snapshots/{version:08d}"

    @staticmethod
    def _alias_key(model: str, name: str) -> str:
        return f"models/{model}/aliases/{name}.json"
