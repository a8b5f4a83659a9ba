"""The backend on a local directory: atomic by rename and link, durable by fsync."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from model_store import failpoints
from model_store.errors import Conflict, KeyExists, KeyMissing

ASIDE = ".aside"
"""Where files and folders are written before they are renamed into place."""


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class LocalBackend:
    """Keys are paths below ``root``; every write is durable when the call returns.

    Raises `KeyMissing`, `KeyExists` or `Conflict` as the methods say; an OSError of the disk passes.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = str(root)

    def __str__(self) -> str:
        return self.name

    def get(self, key: str, limit: int | None = None) -> bytes:
        """The object's bytes, at most ``limit`` + 1 of them, so that too much is noticed unread."""
        try:
            with (self.root / key).open("rb") as file:
                return file.read() if limit is None else file.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise KeyMissing(f"{self.name}/{key}: expected an object, found none") from None

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        """The bytes and the tag that `replace` compares."""
        data = self.get(key)
        return data, hashlib.sha256(data).hexdigest()

    def create(self, key: str, data: bytes) -> None:
        """Put if absent; raises KeyExists."""
        path, aside = self.root / key, self._aside()
        _write(aside, data)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # A link fails where the name exists, which a rename would overwrite.
            os.link(aside, path)
        except FileExistsError:
            raise KeyExists(f"{self.name}/{key}: expected no object, found one") from None
        finally:
            aside.unlink()
        _sync_directory(path.parent)

    def replace(self, key: str, data: bytes, tag: str) -> None:
        """Compare and swap; raises Conflict if the object is not the one tagged."""
        path, aside = self.root / key, self._aside()
        _write(aside, data)
        with (self.root / ASIDE / "replace.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.get_tagged(key)[1] != tag:
                aside.unlink()
                raise Conflict(f"{self.name}/{key}: changed meanwhile")
            aside.rename(path)
            _sync_directory(path.parent)

    def publish(self, prefix: str, files: Mapping[str, bytes]) -> None:
        """All files under ``prefix``, or none of them; raises KeyExists."""
        target, aside = self.root / prefix, self._aside()
        aside.mkdir()
        for name, data in files.items():
            _write(aside / name, data)
        _sync_directory(aside)
        failpoints.reach("snapshot.files_written")
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            shutil.rmtree(aside)
            raise KeyExists(f"{self.name}/{prefix}: expected no object, found one")
        aside.rename(target)
        _sync_directory(target.parent)

    def list(self, prefix: str) -> list[str]:
        """Keys of all objects below ``prefix``, sorted."""
        top = self.root / prefix
        return sorted(
            str(Path(folder, name).relative_to(self.root))
            for folder, _, names in os.walk(top)
            for name in names
        )

    def children(self, prefix: str) -> list[str]:
        """Names right below ``prefix``, sorted."""
        try:
            return sorted(os.listdir(self.root / prefix))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def move(self, source: str, target: str) -> None:
        """Everything below ``source`` goes below ``target``."""
        (self.root / target).parent.mkdir(parents=True, exist_ok=True)
        (self.root / source).rename(self.root / target)
        _sync_directory((self.root / target).parent)
        _sync_directory((self.root / source).parent)

    def delete(self, prefix: str) -> None:
        """Remove an object, or everything below a prefix."""
        path = self.root / prefix
        if path.is_dir():
            # Renamed away first: a reader sees all of it or nothing.
            aside = self._aside()
            path.rename(aside)
            shutil.rmtree(aside)
        else:
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what crashed writers left aside; only while no other writer is alive."""
        shutil.rmtree(self.root / ASIDE, ignore_errors=True)

    def _aside(self) -> Path:
        folder = self.root / ASIDE
        folder.mkdir(parents=True, exist_ok=True)
        return folder / uuid.uuid4().hex
