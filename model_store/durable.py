"""Files that survive the loss of power."""

from __future__ import annotations

import os
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
