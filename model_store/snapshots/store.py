"""Immutable snapshots of models, the aliases that name them, and the trail of who did what."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from model_store import failpoints
from model_store.backends.backend import MANIFEST, Backend, is_name
from model_store.backends.kept import Kept
from model_store.backends.locations import backend_at
from model_store.backends.measured import Told
from model_store.errors import (
    AboveLimit,
    AliasDamaged,
    FormatUnknown,
    KeyExists,
    KeyMissing,
    SnapshotDamaged,
    SnapshotExists,
    SnapshotMissing,
    StoreReadOnly,
)
from model_store.sealed import seal, unseal
from model_store.snapshots import layout, publication, removal
from model_store.snapshots.aliases import Alias, Aliases
from model_store.snapshots.audit import AuditTrail
from model_store.snapshots.format import FORMAT, FORMAT_KEY, check_format, format_bytes

MAX_FILE_BYTES = 1 << 30


class SnapshotStore:
    """All models of one store; make it with :meth:`open`. Methods may be called by any thread."""

    def __init__(self, backend: Backend, location: str, claim: Kept | None) -> None:
        self._backend, self.location, self._claim = backend, location, claim
        self._aliases: dict[str, Aliases] = {}
        self._trails: dict[str, AuditTrail] = {}

    @classmethod
    def open(
        cls,
        location: str | Path,
        *,
        write: bool = False,
        take_over: bool = False,
        told: Told | None = None,
    ) -> SnapshotStore:
        """Open a store at a directory or ``s3://bucket/prefix``.

        Reading needs no lock, and sees an empty store where there is none yet. ``write`` makes
        the store if needed, takes its write side and clears away what a crash left unfinished;
        ``take_over`` takes it in a bucket even from a process that lives, whose every change fails
        from then on. A dead one's is taken without, in a bucket after a while. ``told`` hears of
        each operation on the bytes below.

        Raises
        ------
        StoreLocked
            Another process writes to it.
        FormatUnknown
            It was written by a newer version, or is no snapshot store and not empty.
        StoreUnavailable
            The disk or the bucket failed.
        """
        backend = backend_at(location, told)
        check_format(backend, str(location), write=write)
        if not write:
            return cls(backend, str(location), None)
        claim = Kept(backend.claim(take_over))
        try:
            if FORMAT_KEY not in backend.children(""):
                backend.create(FORMAT_KEY, format_bytes())
            store = cls(backend, str(location), claim)
            store._recover(claim)
        except BaseException:  # whatever it was, the write side must not stay taken
            claim.release()
            raise
        return store

    def close(self) -> None:
        """Let go of the write side."""
        if self._claim is not None:
            self._claim.release()
        self._backend.close()

    @property
    def backend(self) -> Backend:
        """The bytes below."""
        return self._backend

    def models(self) -> list[str]:
        """Names of the models that have anything stored, sorted."""
        return [name for name in self._backend.children("models") if is_name(name)]

    def versions(self, model: str) -> list[int]:
        """Finished versions, ascending."""
        return layout.numbers(self._backend.published(layout.folder(model, "snapshots")))

    def next_version(self, model: str) -> int:
        """One above every version there ever was, begun, quarantined and deleted ones included."""
        return max(removal.used(self._backend, model), default=0) + 1

    def publish(
        self, model: str, version: int, files: Mapping[str, bytes], manifest: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Store a snapshot, all of it or nothing, durable on return.

        Parameters
        ----------
        manifest
            The caller's fields. The store adds format, version, created_at (unix seconds), files
            (sha256 and size of each), audit_head unless given, publication and digest.

        Returns
        -------
        The manifest as stored.

        Raises
        ------
        SnapshotExists
            The number is taken; ask for the next one.
        ClaimLost, StoreReadOnly, StoreUnavailable
            Nothing was published.
        ValueError, TypeError
            The manifest is not JSON, or is too large.
        """
        claim = self.writing()
        claim.check()
        if version < 1 or MANIFEST in files:
            raise ValueError(f"expected a version from 1 and no file {MANIFEST}, found {version}")
        sealed = publication.sealed_manifest(
            version, files, {"audit_head": self.audit(model).head(), **manifest}
        )
        # Read back before anything is written: a caller's value that changes under our hands, or
        # has no one spelling, must not become a snapshot that nobody can read.
        stored = unseal(sealed, MANIFEST)

        def before_commit() -> None:
            claim.check()
            failpoints.reach("snapshot.files_written")

        if removal.gone(self._backend, model, version):
            raise SnapshotExists(f"{model}: version {version} was deleted or quarantined")
        try:
            self._backend.publish(
                layout.snapshot(model, version), {**files, MANIFEST: sealed}, before_commit
            )
        except KeyExists as cause:
            # A claim taken over voids what was begun, which looks like a taken number.
            claim.check()
            raise SnapshotExists(f"{model}: version {version} is taken: {cause}") from cause
        failpoints.reach("snapshot.renamed")
        return stored

    def manifest(self, model: str, version: int) -> dict[str, Any]:
        """The manifest of a finished snapshot, checked against its own digest.

        Raises
        ------
        SnapshotMissing
            There is no such version.
        SnapshotDamaged
            It is not what was written.
        FormatUnknown
            A newer version of this software wrote it.
        """
        path = layout.snapshot(model, version)
        key = f"{path}/{MANIFEST}"
        try:
            data = self._backend.get(key)
        except KeyMissing as cause:
            if version in self.versions(model):
                raise SnapshotDamaged(key, "a manifest", "none") from cause
            raise SnapshotMissing(f"{model}: no snapshot {version}") from cause
        except AboveLimit as cause:
            raise SnapshotDamaged(key, "a manifest of bounded size", str(cause)) from cause
        if not data:
            # In a bucket an empty manifest is how an unfinished publication is voided.
            if version in self.versions(model):
                raise SnapshotDamaged(key, "a manifest", "an empty file")
            raise SnapshotMissing(f"{model}: snapshot {version} was never finished")
        found = unseal(data, key, SnapshotDamaged)
        if found.get("format") != FORMAT:
            raise FormatUnknown(
                f"{key}: expected snapshot format {FORMAT}, found {found.get('format')!r}"
            )
        if found.get("version") != version:
            raise SnapshotDamaged(key, f"version {version}", f"version {found.get('version')}")
        return found

    def read(
        self,
        model: str,
        version: int,
        name: str,
        *,
        manifest: Mapping[str, Any] | None = None,
        limit: int = MAX_FILE_BYTES,
    ) -> bytes:
        """One file of a snapshot, verified before it is returned.

        Parameters
        ----------
        manifest
            Of this version, if the caller has it already; else it is read.
        limit
            The largest file, in bytes, that is read at all.

        Raises
        ------
        SnapshotMissing, SnapshotDamaged, FormatUnknown
            As :meth:`manifest`, or the file is not the one the manifest describes.
        AboveLimit
            The manifest says that it is above the limit.
        KeyMissing
            The snapshot has no file of that name.
        """
        manifest = self.manifest(model, version) if manifest is None else manifest
        key = f"{layout.snapshot(model, version)}/{name}"
        if not is_name(name) or name not in manifest["files"]:
            raise KeyMissing(f"{key}: expected one of {sorted(manifest['files'])}")
        expected = manifest["files"][name]
        if expected["size"] > limit:
            raise AboveLimit(f"{key}: expected at most {limit} bytes, found {expected['size']}")
        return publication.read_file(self._backend, key, expected)

    def quarantine(self, model: str, version: int, why: str) -> None:
        """Set a damaged snapshot aside, as it is; its number stays used. Raises SnapshotMissing."""
        self.writing().check()
        if version not in self.versions(model):
            raise SnapshotMissing(f"{model}: no snapshot {version}")
        removal.set_aside(self._backend, model, version, why)

    def delete(
        self,
        model: str,
        version: int,
        why: str,
        *,
        actor: str = "retention",
        seq: int = 0,
        audit: AuditTrail | None = None,
    ) -> None:
        """Delete a snapshot; its number stays used, and ``audit``, if given, gets a line.

        The tombstone comes first: a crash midway leaves a snapshot to delete again, never a
        number to use again. Raises SnapshotMissing.
        """
        self.writing().check()
        if version not in self.versions(model):
            raise SnapshotMissing(f"{model}: no snapshot {version}")
        removal.bury(self._backend, model, version, why)
        if audit is not None:
            audit.append(actor, "delete", why, None, None, seq, details={"version": version})
        self._backend.remove(layout.snapshot(model, version))

    def mark(self, model: str, version: int, keep: bool) -> None:
        """Set or clear the mark by which retention spares a version."""
        self.writing().check()
        key = f"{layout.folder(model, 'keep')}/{version:08d}.json"
        if keep:
            if version not in self.versions(model):
                raise SnapshotMissing(f"{model}: no snapshot {version}")
            with suppress(KeyExists):
                self._backend.create(key, seal({"version": version, "at": time.time()}))
        else:
            with suppress(KeyMissing):
                self._backend.delete(key)

    def marked(self, model: str) -> list[int]:
        """Versions marked ``keep``, ascending."""
        return layout.numbers(self._backend.children(layout.folder(model, "keep")))

    def alias(self, model: str, name: str) -> Alias | None:
        """Where an alias points; made to be polled. Raises AliasDamaged."""
        return self._aliases_of(model).get(name)

    def aliases(self, model: str) -> list[Alias]:
        """All aliases of a model, by name. Raises AliasDamaged."""
        found = self._aliases_of(model)
        return [alias for name in found.names() if (alias := found.get(name)) is not None]

    def set_alias(
        self,
        model: str,
        name: str,
        version: int,
        *,
        generation: int,
        seq: int,
        pinned: bool = False,
        repair: bool = False,
    ) -> Alias:
        """Move an alias from a known generation, 0 for one that is not there.

        ``repair`` writes over a damaged one, as ``generation + 1``; a sound one is compared.

        Raises
        ------
        AliasConflict
            It has moved; the message names both generations.
        AliasDamaged
            It is not what was written, and ``repair`` was not asked for.
        ClaimLost, StoreReadOnly
            Nothing was changed.
        """
        self.writing()
        return self._aliases_of(model).set(
            name, version, generation=generation, seq=seq, pinned=pinned, repair=repair
        )

    def audit(self, model: str) -> AuditTrail:
        """The model's audit trail."""
        if model not in self._trails:
            trail = AuditTrail(self._backend, layout.folder(model, "audit"), self._claim)
            self._trails.setdefault(model, trail)
        return self._trails[model]

    def _aliases_of(self, model: str) -> Aliases:
        if model not in self._aliases:
            made = Aliases(self._backend, layout.folder(model, "aliases"), self._claim)
            self._aliases.setdefault(model, made)
        return self._aliases[model]

    def _recover(self, claim: Kept) -> None:
        """Make the write side ours: fence an older holder, clear what was left unfinished."""
        self._backend.tidy()
        for model in self.models():
            if claim.taken_over:
                self._aliases_of(model).fence()
            removal.clear_unfinished(self._backend, model, functools.partial(self._spared, model))

    def _spared(self, model: str) -> set[int] | None:
        try:
            return {*self.marked(model), *(alias.version for alias in self.aliases(model))}
        except AliasDamaged:
            return None

    def writing(self) -> Kept:
        """The write side. Raises StoreReadOnly."""
        if self._claim is None:
            raise StoreReadOnly(f"{self.location}: opened for reading; open it with write=True")
        return self._claim
