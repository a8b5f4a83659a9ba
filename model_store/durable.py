"""Files that survive the loss of power."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def publish(partial: Path, path: Path) -> None:
    """Give a complete file its name, both on the disk on return. Raises OSError."""
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(partial, path)
    sync_directory(path.parent)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file that appears as ``path`` if nothing goes wrong, or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        yield partial
        publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file whole: after a crash it is the old one or the new one. Raises OSError."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    publish(partial, path)


def sync_directory(directory: Path) -> None:
    """Make what was created, renamed or removed in it survive the loss of power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
