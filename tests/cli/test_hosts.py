"""A server listens where it is told to, and says so in a form that can be used."""

from __future__ import annotations

import socket

import pytest

from clients import Client
from service.hosting.process import ServerProcess
from tests.line import teach
from tests.serving import IMMEDIATE, PRESS

pytestmark = pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6 here")


def arguments(folder):
    config = folder / "apical.toml"
    store, log = (repr(str(folder / name)) for name in ("store", "log"))
    config.write_text(PRESS.format(store=store, log=log, top="", model=IMMEDIATE))
    return ["serve", "--config", str(config)]


@pytest.mark.parametrize(("host", "others"), [("::1", []), ("::", ["127.0.0.1", "[::1]"])])
def test_ipv6_addresses(tmp_path, host, others):
    server = ServerProcess(
        [*arguments(tmp_path), "--host", host, "--insecure"], tmp_path / "stderr"
    )
    with server:
        assert server.url.startswith(f"http://[{host}]:")
        port = server.url.rsplit(":", 1)[1]
        for url in [f"http://[::1]:{port}", *(f"http://{other}:{port}" for other in others)]:
            with Client(url) as client:
                for _ in range(600):
                    if client.ready():
                        break
                teach(client, 0, 1)


def test_a_replica_on_ipv6_has_limits_of_its_own(tmp_path):
    with ServerProcess(arguments(tmp_path), tmp_path / "stderr") as learner:
        learner.wait_ready()
        replica = ["replica", "--store", str(tmp_path / "store"), "--host", "::1"]
        replica += ["--rows-per-batch", "2"]
        with ServerProcess(replica, tmp_path / "replica") as started:
            started.wait_ready()
            with Client(started.url) as client:
                assert len(client.predict("press", [{"temp": 1.0}] * 2).predictions) == 2
                with pytest.raises(Exception, match="at most 2 rows, found 3"):
                    client.predict("press", [{"temp": 1.0}] * 3)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1"])
def test_where_others_could_reach_it_it_must_be_asked_for(tmp_path, host):
    with pytest.raises(RuntimeError, match="expected a loopback address, found") as said:
        ServerProcess([*arguments(tmp_path), "--host", host], tmp_path / "stderr")
    assert "--insecure" in str(said.value)
