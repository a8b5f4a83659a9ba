"""What the store adds to a manifest that is published, and how a file is held against it."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
from typing import Any

from model_store.backends.backend import SMALL_BYTES, Backend, check_name
from model_store.errors import AboveLimit, KeyMissing, SnapshotDamaged
from model_store.sealed import seal
from model_store.snapshots.format import FORMAT


def sealed_manifest(version: int, files: Mapping[str, bytes], fields: Mapping[str, Any]) -> bytes:
    """The bytes of a manifest: the caller's fields, and format, version, files, publication.

    Raises
    ------
    ValueError, TypeError
        It is not JSON, or larger than a reader accepts.
    """
    filled = {
        "created_at": time.time(),
        **fields,
        "format": FORMAT,
        "version": version,
        "files": {
            check_name(name, "file"): {
                "sha256": hashlib.sha256(data).hexdigest(),
                "size": len(data),
            }
            for name, data in files.items()
        },
        # Two writers never write the same manifest: see S3Backend.
        "publication": secrets.token_hex(8),
    }
    sealed = seal(filled)
    if len(sealed) > SMALL_BYTES:
        raise ValueError(f"manifest: expected at most {SMALL_BYTES} bytes, found {len(sealed)}")
    return sealed


def read_file(backend: Backend, key: str, expected: Mapping[str, Any]) -> bytes:
    """A file as its manifest describes it. Raises SnapshotDamaged."""
    size = f"{expected['size']} bytes"
    try:
        data = backend.get(key, expected["size"])
    except KeyMissing as cause:
        raise SnapshotDamaged(key, size, "no file") from cause
    except AboveLimit as cause:
        raise SnapshotDamaged(key, size, f"{backend.size(key)} bytes") from cause
    check_file(key, data, expected)
    return data


def check_file(key: str, data: bytes, expected: Mapping[str, Any]) -> None:
    """Raises SnapshotDamaged unless a file is the one that its manifest describes."""
    if len(data) != expected["size"]:
        raise SnapshotDamaged(key, f"{expected['size']} bytes", f"{len(data)} bytes")
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected["sha256"]:
        raise SnapshotDamaged(key, f"sha256 {expected['sha256']}", digest)
