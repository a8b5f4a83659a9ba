"""What a script has in its hands is sent as it is meant, or refused by row and sensor."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from base64 import b64encode
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from clients import AsyncClient, Client, InvalidInput, Rejected, Unreachable
from tests.serving import press, serving


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with serving(press(tmp_path_factory.mktemp("inputs"))) as started:
        yield started


PLAIN = [{"temp": 20.5, "flow": None}, {"temp": 21.0, "flow": 3.0}]


@pytest.mark.parametrize(
    "rows",
    [
        [{"temp": np.float32(20.5), "flow": np.nan}, {"temp": np.int64(21), "flow": np.float64(3)}],
        [{"temp": Decimal("20.5"), "flow": float("nan")}, {"temp": np.float16(21), "flow": 3}],
        [{np.str_("temp"): 20.5}, {"temp": np.array(21.0), "flow": np.uint8(3)}],
    ],
)
def test_numbers_of_numpy_are_numbers_and_nan_is_missing(running, rows):
    expected = running.client.predict("press", PLAIN).probabilities
    assert running.client.predict("press", rows).probabilities == expected
    columns = {"temp": np.array([20.5, 21.0], np.float32), "flow": np.array([np.nan, 3.0])}
    assert running.client.predict("press", columns=columns).probabilities == expected


def test_labels_of_a_table_may_be_nan(running):
    labels = np.array(["ok", np.nan], object)
    answer = running.client.learn("press", PLAIN, labels, batch_id="t")
    assert answer.learned == [True, False]
    late = running.client.label("press", "t", [float("nan"), np.str_("worn")])
    assert late.learned == [False, True]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (float("inf"), "inf"),
        (np.float32("-inf"), "-inf"),
        (True, "True"),
        (np.bool_(True), "True"),
        ([1.0], "[1.0]"),
        (np.array([1.0, 2.0]), "array"),
        (object, "<class"),
    ],
)
def test_anything_else_names_row_and_sensor_and_nothing_is_sent(running, value, found):
    for arguments in (
        {"rows": [{"temp": 1.0}, {"temp": value}]},
        {"columns": {"temp": [1.0, value]}},
    ):
        with pytest.raises(InvalidInput, match=r"row 1, sensor 'temp': expected a finite") as said:
            running.client.predict("press", **arguments)
        assert found in str(said.value)

        async def ask(arguments=arguments):
            async with AsyncClient(running.url) as client:
                await client.predict("press", **arguments)

        with pytest.raises(InvalidInput, match="row 1, sensor 'temp'"):
            asyncio.run(ask())
    with pytest.raises(InvalidInput, match="labels, row 1: expected a class name or None, found 3"):
        running.client.learn("press", PLAIN, ["ok", 3])


def test_a_text_where_numbers_are_expected_is_refused_by_the_model(running):
    with pytest.raises(Rejected, match="row 1, temp: expected a finite number or null") as said:
        running.client.predict("press", [{"temp": 1.0}, {"temp": np.str_("hot")}])
    assert "found 'hot'" in str(said.value)


def test_the_client_needs_no_numpy():
    code = "import sys, clients; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "url",
    ["localhost:8080", "127.0.0.1:8080", "", "http://", "ftp://a", "http://[::1", "http://a/?b=1"],
)
def test_an_address_that_is_none_is_told_at_once(kind, url):
    with pytest.raises(InvalidInput, match="url: expected one such as http://") as said:
        kind(url)
    assert f"found {url!r}" in str(said.value)


def test_a_path_and_a_password_of_a_proxy_go_along():
    heard = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append((self.path, self.headers["authorization"], self.headers["host"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"models": []}')

        def log_message(self, *about):
            pass

    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        for url, key in [(f"http://{host}/apical/", "k"), (f"http://kim:p%40ss@{host}", None)]:
            with Client(url, key=key) as client:
                assert client.models() == []
        server.shutdown()
    basic = "Basic " + b64encode(b"kim:p@ss").decode()
    assert heard == [("/apical/v1/models", "Bearer k", host), ("/v1/models", basic, host)]
    with Client(f"http://kim:secret@{host}") as client, pytest.raises(Unreachable) as said:
        client.models()
    assert f"no answer from http://{host} to" in str(said.value)
    assert "secret" not in str(said.value)
    for url, key in (
        ("http://kim:secret@h", "k"),
        ("ftp://kim:secret@h", None),
        ("http://kim:secret@[::1", None),
    ):
        with pytest.raises(InvalidInput, match="url: expected") as said:
            Client(url, key=key)
        assert "secret" not in str(said.value)


def test_a_closed_client_asks_nothing(running):
    with Client(running.url) as client:
        assert client.ready()
    with pytest.raises(RuntimeError, match="the client is closed"):
        client.models()
