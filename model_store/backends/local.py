"""Bytes in a directory of a local file system."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from model_store.backends.backend import SMALL_BYTES
from model_store.errors import (
    AboveLimit,
    ClaimLost,
    Conflict,
    Damaged,
    KeyExists,
    KeyMissing,
    StoreLocked,
    StoreUnavailable,
)

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")  # what `_aside` makes, and nothing else
LOCK = "lock"
_HIDDEN = "."  # what starts with it is temporary, or a lock; no key does


class LocalBackend:
    """The :class:`~model_store.backends.backend.Backend` protocol on a directory.

    Parameters
    ----------
    root
        Made at the first write if it is missing.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def get(self, key: str, limit: int = SMALL_BYTES) -> bytes:
        path = self._path(key)
        try:
            with _failing(path), open(path, "rb", buffering=0, opener=self._opened) as file:
                size = os.fstat(file.fileno()).st_size
                if size > limit:
                    raise AboveLimit(f"{path}: expected at most {limit} bytes, found {size}")
                data = file.read(size)
                while len(data) < size and (more := file.read(size - len(data))):
                    data += more
                return data
        except (FileNotFoundError, NotADirectoryError) as cause:
            raise KeyMissing(f"{path}: no such file") from cause

    def _opened(self, path: str, flags: int) -> int:
        """Open what is a file of ours, and nothing that leads elsewhere or lets a reader wait."""
        for folder in (p for p in Path(path).parents if p.is_relative_to(self._root)):
            if folder != self._root and folder.is_symlink():
                raise Damaged(str(folder), "a directory", "a symbolic link")
        try:
            opened = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as cause:
            if cause.errno == errno.ELOOP:
                raise Damaged(path, "a regular file", "a symbolic link") from cause
            raise
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            os.close(opened)
            raise Damaged(path, "a regular file", "something else")
        return opened

    def get_tagged(self, key: str, limit: int = SMALL_BYTES) -> tuple[bytes, str]:
        data = self.get(key, limit)
        return data, hashlib.sha256(data).hexdigest()

    def get_changed(
        self, key: str, tag: str | None, limit: int = SMALL_BYTES
    ) -> tuple[bytes, str] | None:
        found = self.get_tagged(key, limit)
        return None if found[1] == tag else found

    def create(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with _failing(path):
            self._make(path.parent)
            temporary = _write_aside(path, data)
            try:
                # A link, unlike a rename, refuses to replace what is there.
                os.link(temporary, path)
            except FileExistsError as cause:
                raise KeyExists(f"{path}: exists already") from cause
            finally:
                os.unlink(temporary)
            _sync(path.parent)

    def replace(self, key: str, data: bytes, tag: str) -> None:
        path = self._path(key)
        with _failing(path), self._exclusive(path.parent):
            try:
                found = self.get_tagged(key)[1]
            except KeyMissing as cause:
                raise Conflict(f"{path}: expected tag {tag}, found no file") from cause
            if found != tag:
                raise Conflict(f"{path}: expected tag {tag}, found {found}")
            os.replace(_write_aside(path, data), path)
            _sync(path.parent)

    def publish(
        self,
        prefix: str,
        files: Mapping[str, bytes],
        before_commit: Callable[[], None] = lambda: None,
    ) -> None:
        path = self._path(prefix)
        with _failing(path):
            self._make(path.parent)
            aside = _aside(path)
            aside.mkdir()
            try:
                for name, data in files.items():
                    _write(aside / name, data)
                _sync(aside)
                before_commit()
                self._rename(aside, path)
            except BaseException:  # whatever it was, nothing may be left half-published
                shutil.rmtree(aside, ignore_errors=True)
                raise

    def published(self, prefix: str) -> list[str]:
        return self.children(prefix)

    def unfinished(self, prefix: str) -> list[str]:
        return []  # what is not renamed yet is hidden, and tidied

    def void(self, path: str) -> bool:
        return False

    def children(self, prefix: str) -> list[str]:
        path = self._path(prefix)
        with _failing(path):
            try:
                return sorted(n for n in os.listdir(path) if not n.startswith(_HIDDEN))
            except FileNotFoundError:
                return []

    def top(self) -> list[str]:
        with _failing(self._root):
            if not self._root.exists():
                return []
            names = sorted(os.listdir(self._root))
        return [n for n in names if n != LOCK and not _TEMPORARY.fullmatch(n)]

    def list(self, prefix: str) -> list[str]:
        root = self._path(prefix)
        keys = []
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if not name.startswith(_HIDDEN)]
            inside = Path(folder).relative_to(self._root)
            keys += [(inside / n).as_posix() for n in names if not n.startswith(_HIDDEN)]
        return sorted(keys)

    def size(self, key: str) -> int:
        path = self._path(key)
        with _failing(path):
            try:
                return path.stat().st_size
            except (FileNotFoundError, NotADirectoryError) as cause:
                raise KeyMissing(f"{path}: no such file") from cause

    def delete(self, key: str) -> None:
        path = self._path(key)
        with _failing(path):
            try:
                path.unlink()
            except FileNotFoundError as cause:
                raise KeyMissing(f"{path}: no such file") from cause
            _sync(path.parent)

    def remove(self, prefix: str) -> None:
        path = self._path(prefix)
        with _failing(path):
            hidden = _aside(path)
            try:
                os.rename(path, hidden)
            except FileNotFoundError:
                return
            _sync(path.parent)
            shutil.rmtree(hidden)

    def move(self, source: str, target: str) -> None:
        path, goal = self._path(source), self._path(target)
        with _failing(path):
            if not path.exists():
                raise KeyMissing(f"{path}: no such directory")
            self._make(goal.parent)
            self._rename(path, goal)
            _sync(path.parent)

    def claim(self, take_over: bool) -> FileClaim:
        """``take_over`` changes nothing here: the kernel drops the lock of a dead process."""
        with _failing(self._root):
            self._make(self._root)
            return FileClaim(self._root / LOCK)

    def tidy(self) -> None:
        with _failing(self._root):
            for folder, folders, names in os.walk(self._root):
                for name in [n for n in folders if _TEMPORARY.fullmatch(n)]:
                    folders.remove(name)
                    shutil.rmtree(Path(folder) / name)
                for name in [n for n in names if _TEMPORARY.fullmatch(n)]:
                    (Path(folder) / name).unlink()

    def close(self) -> None:
        """Nothing is held open."""

    def _path(self, key: str) -> Path:
        parts = key.split("/") if key else []
        if any(not part or part.startswith(_HIDDEN) or "\0" in part for part in parts):
            raise ValueError(f"key {key!r}: expected names joined by '/', none hidden or empty")
        return self._root.joinpath(*parts)

    def _make(self, folder: Path) -> None:
        """Make a directory and those above it, each durable in the one above."""
        if folder.is_dir():
            return
        self._make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)

    def _rename(self, source: Path, target: Path) -> None:
        try:
            # An empty directory would be replaced silently, so that it is refused by hand.
            if target.exists():
                raise KeyExists(f"{target}: exists already")
            os.rename(source, target)
        except OSError as cause:
            if cause.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise KeyExists(f"{target}: exists already") from cause
            raise
        _sync(target.parent)

    @contextmanager
    def _exclusive(self, folder: Path) -> Iterator[None]:
        """Hold a directory's lock; threads of one process exclude each other as well."""
        self._make(folder)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class FileClaim:
    """The write side, held as ``flock`` on a file; gone with the process that held it."""

    taken_over = False

    def __init__(self, path: Path) -> None:
        self.token = secrets.token_hex(8)
        self._path = path
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            holder = _holder(os.read(self._descriptor, 1000))
            os.close(self._descriptor)
            raise StoreLocked(
                f"{path}: {holder} has this store open for writing; stop it first, or send it "
                "the command instead"
            ) from cause
        who = {"pid": os.getpid(), "host": socket.gethostname()}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, (json.dumps(who) + "\n").encode(), 0)

    def renew(self) -> None:
        # The kernel knows that this process lives.
        self.check()

    def check(self) -> None:
        if self._descriptor is None:
            raise ClaimLost(f"{self._path}: this process has let go of the store")
        # Somebody may have deleted the file, in which case another process can lock a new one.
        try:
            kept = os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except FileNotFoundError:
            kept = False
        if not kept:
            raise ClaimLost(f"{self._path}: the lock file was deleted or replaced meanwhile")

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _holder(data: bytes) -> str:
    try:
        who = json.loads(data)
        return f"process {who['pid']} on {who['host']}"
    except (ValueError, KeyError, TypeError):
        return "a process"  # it has locked the file and not yet written its name


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())


def _write_aside(path: Path, data: bytes) -> Path:
    aside = _aside(path)
    try:
        _write(aside, data)
    except BaseException:  # a full disk must not fill up further with remains
        aside.unlink(missing_ok=True)
        raise
    return aside


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    """What the disk refuses becomes StoreUnavailable; what is merely absent stays itself."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as cause:
        raise StoreUnavailable(f"{path}: {cause.strerror or cause}") from cause
