"""From the location of a store, as a person writes it, to the backend that keeps its bytes."""

from __future__ import annotations

from pathlib import Path

from model_store.backends.backend import Backend
from model_store.backends.local import LocalBackend
from model_store.backends.measured import Told, measured


def backend_at(location: str | Path, told: Told | None = None) -> Backend:
    """The backend of a directory or of ``s3://bucket/prefix``; ``told`` hears of its operations."""
    backend = _backend_at(location)
    return backend if told is None else measured(backend, told)


def _backend_at(location: str | Path) -> Backend:
    if str(location).startswith("s3://"):
        # Not everybody who has a store has a bucket: obstore is an optional dependency.
        from model_store.backends.s3 import S3Backend

        return S3Backend(str(location))
    return LocalBackend(Path(location))
