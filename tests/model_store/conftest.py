from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_store.backends.backend import Backend
from model_store.backends.local import LocalBackend


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """A bucket behind a real HTTP server, as ``s3://…``."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_REGION", "us-east-1")
        request = urllib.request.Request(f"{endpoint}/apical", method="PUT")
        urllib.request.urlopen(request).close()
        yield "s3://apical"
    server.stop()


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
