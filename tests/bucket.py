"""An S3 server for tests: moto behind real HTTP, with the atomic puts that a real bucket has."""

from __future__ import annotations

import contextlib
import logging
import threading
import urllib.request
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def serving_bucket(name: str) -> Iterator[str]:
    """A bucket behind a real HTTP server, as ``s3://…``; the environment leads to it."""
    from moto.moto_server import threaded_moto_server as served

    whole, one_by_one = served.DomainDispatcherApplication, threading.Lock()

    class Atomic(whole):  # type: ignore[misc, valid-type]
        """moto compares a put's condition and stores in two steps; S3 does it in one."""

        def __call__(self, environ, start_response):  # type: ignore[no-untyped-def]
            if environ["REQUEST_METHOD"] != "PUT":
                return super().__call__(environ, start_response)
            with one_by_one:
                return super().__call__(environ, start_response)

    # One line per request, thousands of them, would bury what a failing test has to say.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served, "DomainDispatcherApplication", Atomic)
        server = served.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_REGION", "us-east-1")
        request = urllib.request.Request(f"{endpoint}/{name}", method="PUT")
        urllib.request.urlopen(request).close()
        yield f"s3://{name}"
        server.stop()
