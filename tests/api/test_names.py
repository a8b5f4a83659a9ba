"""Names in a path are names: one that would lead elsewhere is unknown, however it is spelled."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest

from tests.serving import press, serving

NAMES = [
    "..",
    "../..",
    "%2e%2e",
    "%2e%2e%2f",
    "%252e%252e%252f",
    "..%5c",
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "press%00",
    "%2fetc%2fpasswd",
    "//etc/passwd",
    "press%2f..%2fpress",
    "%ff",
    "a%0d%0aX:%20y",
]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with serving(press(tmp_path_factory.mktemp("names"))) as started:
        yield started


def asked(url, method, path):
    """As it is: no client tidies the path."""
    at = urlsplit(url)
    with socket.create_connection((at.hostname, at.port), timeout=20) as connection:
        body = b'{"rows": [{"temp": 1}], "reason": "x"}' if method == "POST" else b""
        connection.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        answered = b""
        while more := connection.recv(65536):
            answered += more
    return answered


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_elsewhere(running, name):
    for method, path in (
        ("GET", f"/v1/models/{name}"),
        ("GET", f"/v1/models/{name}/snapshots"),
        ("GET", f"/v1/models/press/snapshots/{name}"),
        ("GET", f"/v1/models/press/snapshots/1/diff/{name}"),
        ("POST", f"/v1/models/{name}/batches"),
        ("POST", f"/v1/models/{name}/freeze"),
        ("POST", f"/v1/models/press/snapshots/{name}/keep"),
    ):
        answered = asked(running.url, method, path)
        status = int(answered.split(b" ", 2)[1])
        assert status in (400, 404, 405, 422, 307), (method, path, answered[:300])
        assert b"root:" not in answered
        assert b"\r\nX: y" not in answered
