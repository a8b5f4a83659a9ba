"""What a connection may send, and hold: bounded before it costs others anything."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

import service.hosting.protocol
from service.api import bodies
from service.hosting.process import ServerProcess
from tests.serving import IMMEDIATE, PRESS, press, row, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bounds")
    config = folder / "apical.toml"
    store, log = (repr(str(folder / name)) for name in ("store", "log"))
    config.write_text(PRESS.format(store=store, log=log, top="", model=IMMEDIATE))
    with ServerProcess(["serve", "--config", str(config)], folder / "stderr") as started:
        started.wait_ready()
        yield started


def connected(server):
    at = urlsplit(server.url)
    return socket.create_connection((at.hostname, at.port), timeout=30)


def sent(server, *parts):
    """Everything that is answered until the server closes the connection."""
    with connected(server) as connection:
        answered = b""
        try:
            for part in parts:
                connection.sendall(part)
            while more := connection.recv(65536):
                answered += more
        except (BrokenPipeError, ConnectionResetError):
            # It was refused while we were still sending.
            pass
        return answered


def test_a_reply_does_not_say_what_made_it(server):
    assert "server" not in httpx.get(f"{server.url}/v2/health/live").headers


def test_a_long_url_is_refused(server):
    said = sent(server, b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 414 ")
    assert b"a URL of at most 8192 bytes, found 20001" in said


@pytest.mark.parametrize("kind", ["url", "header", "headers"])
def test_a_head_that_does_not_end_is_refused_before_it_is_large(server, kind):
    begin = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"
    part = b"X: " + b"a" * 64_000 if kind == "header" else b"a" * 64_000
    if kind == "url":
        begin, part = b"GET /", b"a" * 64_000
    if kind == "headers":
        part = b"".join(b"X-%d: a\r\n" % index for index in range(6000))
    before = memory(server)
    said = sent(server, begin, *[part] * 100)
    assert said.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 414 ")) or said == b""
    assert memory(server) - before < 4 * 2**20


def test_too_many_headers_are_refused(server):
    headers = b"".join(b"X-%d: a\r\n" % index for index in range(200))
    said = sent(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n")
    assert said.startswith(b"HTTP/1.1 431 ")
    assert b"expected at most 100 headers, found 201" in said


CHUNKED = (
    b"POST /v1/models/press/batches HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
)


@pytest.mark.parametrize(
    ("begin", "part"),
    [
        (b"0\r\nX: ", b"a" * 64_000),
        (b"0\r\n", b"".join(b"X-%d: a\r\n" % index for index in range(6000))),
        (b"1;x=", b"a" * 64_000),
    ],
    ids=["one trailer", "trailers", "chunk extension"],
)
def test_what_is_sent_around_a_body_is_refused_before_it_is_large(server, begin, part):
    before = memory(server)
    said = sent(server, CHUNKED, begin, *[part] * 100)
    assert said.startswith(b"HTTP/1.1 4") or said == b""
    assert memory(server) - before < 4 * 2**20


def test_a_chunked_body_with_a_trailer_is_answered(server):
    said = sent(
        server,
        CHUNKED,
        b"0\r\nX-Sum: 1\r\n\r\nGET /v2/health/live HTTP/1.1\r\n"
        b"Host: localhost\r\nConnection: close\r\n\r\n",
    )
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"422", b"200"]


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_trailer_is_no_header(server, pieces):
    whole = CHUNKED + b"0\r\nX-Request-ID: of-the-trailer\r\n\r\n"
    size = -(-len(whole) // pieces)
    said = sent(
        server,
        *(whole[at : at + size] for at in range(0, len(whole), size)),
        b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"422", b"200"]
    assert b"of-the-trailer" not in said


@pytest.mark.parametrize("cut", [None, 60_000])
def test_a_large_head_right_behind_a_request_is_refused_too(server, cut):
    """It may begin in the piece in which the request before it ends."""
    first = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    second = first[:-2] + b"".join(b"X-%d: %s\r\n" % (k, b"a" * 1000) for k in range(80)) + b"\r\n"
    whole = first + second
    with connected(server) as connection:
        connection.sendall(whole[:cut])
        time.sleep(0.3)
        connection.sendall(whole[cut:] if cut else b"")
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while more := connection.recv(65536):
                said += more
    assert re.findall(rb"HTTP/1.1 (\d+)", said) in ([b"200", b"431"], [b"431"])


def test_idle_connections_keep_no_body_and_no_trailers(server):
    trailers = b"0\r\n" + b"a:\r\n" * 15_000 + b"\r\n"
    body = b'{"rows": []' + b" " * 60_000 + b"}"
    large = CHUNKED[: CHUNKED.index(b"Transfer")] + b"Content-Length: %d\r\n\r\n" % len(body) + body
    # Refused before anybody reads its body.
    strange = large.replace(b"Host:", b"Origin: http://evil.example\r\nHost:")
    with contextlib.ExitStack() as stack:
        before = None
        for index in range(205):
            connection = stack.enter_context(connected(server))
            for request, status in ((CHUNKED + trailers, 422), (large, 422), (strange, 403)):
                connection.sendall(request)
                said = b""
                while not said.endswith(b"}"):
                    said += connection.recv(65536)
                assert said.startswith(b"HTTP/1.1 %d " % status)
            if index == 4:
                before = memory(server)
        assert memory(server) - before < 8 * 2**20


def memory(server):
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) * 1024


def test_a_silent_connection_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(service.hosting.protocol, "HEAD_S", 0.2)
    with serving(press(tmp_path)) as running:
        for begun in (b"", b"GET / HTTP/1.1\r\nHos"):
            with connected(running) as connection:
                connection.sendall(begun)
                assert connection.recv(100) == b""
        with connected(running) as connection:
            for _ in range(2):
                connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert connection.recv(1000).startswith(b"HTTP/1.1 200")
                time.sleep(0.3)
            # Kept it may be silent, but what it begins it has to end.
            connection.sendall(b"GET / HTTP/1.1\r\nHos")
            assert connection.recv(100) == b""
        with connected(running) as connection:
            # Also what it begins in the piece in which the request before ends.
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTT")
            connection.settimeout(5)
            while connection.recv(1000):
                pass


def test_a_body_of_empty_lists_is_refused_by_its_shape(server):
    at = f"{server.url}/v1/models/press/batches"
    body = b'{"rows": [' + b"[]," * 4_000_000 + b"[]]}"
    said = httpx.post(at, content=body, headers={"content-type": "application/json"}, timeout=60)
    assert said.status_code == 413
    assert "at most 50000 lists and objects" in said.json()["detail"]


def test_bodies_that_never_end_do_not_keep_others_from_sending_rows(tmp_path):
    top = "[limits]\nbody_bytes = 200_000\n"
    with serving(press(tmp_path, top=top)) as running:
        open_ = []
        try:
            for _ in range(12):
                connection = connected(running)
                connection.sendall(
                    b"POST /v1/models/press/batches HTTP/1.1\r\nHost: localhost\r\n"
                    b"Content-Type: application/json\r\nContent-Length: 200000\r\n\r\n"
                    + b" "
                    * 150_000
                )
                open_.append(connection)
            refused = 0
            for connection in open_:
                connection.settimeout(1.0)
                with contextlib.suppress(TimeoutError):
                    refused += connection.recv(1000).startswith(b"HTTP/1.1 429")
            assert refused >= 12 - 200_000 * 4 // 150_000 - 1
            at = f"{running.url}/v1/models/press/batches"
            assert httpx.post(at, json={"rows": [row(1)]}, timeout=10).status_code == 200
        finally:
            for connection in open_:
                connection.close()
        for _ in range(200):
            body = b'{"rows": [{"temp": 1}]' + b" " * 150_000 + b"}"
            said = httpx.post(at, content=body, headers={"content-type": "application/json"})
            if said.status_code == 200:
                break
            time.sleep(0.02)
        assert said.status_code == 200


@pytest.mark.parametrize("url", ["/v2/health/live", "/v2/health/ready", "/metrics"])
def test_health_and_metrics_are_asked_for_with_head_too(server, url):
    said = httpx.head(f"{server.url}{url}")
    assert (said.status_code, said.content) == (200, b"")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2026-03-01t06:30:00z", "2026-03-01T06:30:00+00:00"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59+00:00"),
        ("2016-12-31T23:59:60.5Z", "2016-12-31T23:59:59.5+00:00"),
    ],
)
def test_every_time_of_rfc_3339_is_read(said, meant):
    assert bodies.instant({"at": said}, "at") == bodies.instant({"at": meant}, "at")
