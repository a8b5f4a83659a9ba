from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_store.backends.backend import Backend
from model_store.backends.local import LocalBackend
from tests.bucket import serving_bucket


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    with serving_bucket("apical") as place:
        yield place


@pytest.fixture(params=["local", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place for a store: a directory, then a prefix of a bucket."""
    if request.param == "local":
        return str(tmp_path / "store")
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


@pytest.fixture
def backend(location: str) -> Backend:
    if location.startswith("s3://"):
        from model_store.backends.s3 import S3Backend

        return S3Backend(location)
    return LocalBackend(Path(location))


@pytest.fixture
def overwrite(location: str, backend: Backend) -> Callable[[str, bytes], None]:
    """Changes stored bytes behind the store's back."""

    def change(key: str, data: bytes) -> None:
        if location.startswith("s3://"):
            backend.delete(key)
            backend.create(key, data)
        else:
            (Path(location) / key).write_bytes(data)

    return change
