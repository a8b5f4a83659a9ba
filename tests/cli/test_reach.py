"""Who can reach a server: keys, certificates, and a bound on connections."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import ssl
import subprocess
import sys
import warnings

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clients import AsyncClient, Client, Rejected, Unreachable
from service.access import keys
from service.hosting.process import ServerProcess
from tests.line import teach
from tests.serving import IMMEDIATE, PRESS, row


@pytest.fixture
def arguments(tmp_path):
    config = tmp_path / "apical.toml"
    store, log = (repr(str(tmp_path / name)) for name in ("store", "log"))
    top = "[limits]\nconnections = 8\n"
    config.write_text(PRESS.format(store=store, log=log, top=top, model=IMMEDIATE))
    return ["serve", "--config", str(config)]


@pytest.fixture
def certificate(tmp_path):
    """PEM files of a certificate for 127.0.0.1 and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "apical")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(encoding))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def test_with_keys_a_server_may_be_reached_and_tells_of_plain_http(tmp_path, arguments):
    path = tmp_path / "keys.json"
    _, secret = keys.add(path, "gateway", "line")
    asked = [*arguments, "--keys", str(path), "--host", "0.0.0.0"]
    with ServerProcess(asked, tmp_path / "stderr") as server:
        server.wait_ready()
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        with Client(url) as client, pytest.raises(Rejected, match="401"):
            client.predict("press", [row(1)])
        with Client(url, key=secret) as client:
            teach(client, 0, 1)
    assert "keys over plain HTTP" in (tmp_path / "stderr").read_text()
    with ServerProcess([*arguments, "--keys", str(path)], tmp_path / "again") as server:
        server.wait_ready()
    assert "plain HTTP" not in (tmp_path / "again").read_text()


@pytest.mark.parametrize("content", [None, '{"format": 1, "keys": []}', "{"])
def test_without_a_key_that_is_in_use_it_does_not_start(tmp_path, arguments, content):
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RuntimeError, match=r"keys\.json: expected"):
        ServerProcess([*arguments, "--keys", str(path)], tmp_path / "stderr")


def test_the_configuration_may_name_the_file(tmp_path, arguments):
    _, secret = keys.add(tmp_path / "keys.json", "gateway", "line")
    config = tmp_path / "apical.toml"
    config.write_text(f'[server]\nkeys = "{tmp_path}/keys.json"\n' + config.read_text())
    with ServerProcess(arguments, tmp_path / "stderr") as server:
        server.wait_ready()
        assert httpx.get(f"{server.url}/v1/models").status_code == 401
        with Client(server.url, key=secret) as client:
            assert [m.name for m in client.models()] == ["press"]


def test_the_commands_and_the_client_take_the_key_of_the_environment(
    tmp_path, arguments, monkeypatch
):
    path = tmp_path / "keys.json"
    _, secret = keys.add(path, "chief", "operator")
    with ServerProcess([*arguments, "--keys", str(path)], tmp_path / "stderr") as server:
        server.wait_ready()
        with Client(server.url, key=secret) as client:
            teach(client, 0, 3)
        take = [sys.executable, "-m", "service.cli", "snapshots", "take", "--url", server.url]
        bare = {k: v for k, v in os.environ.items() if k != "APICAL_KEY"}
        refused = subprocess.run(take, capture_output=True, text=True, env=bare)
        assert refused.returncode == 1
        assert "expected Authorization: Bearer KEY, found none" in refused.stderr
        done = subprocess.run(
            take, capture_output=True, text=True, env=bare | {"APICAL_KEY": secret}
        )
        assert done.returncode == 0, done.stderr
        monkeypatch.setenv("APICAL_KEY", secret)
        with Client(server.url) as client:
            newest = client.snapshots("press")[-1].version
            assert client.manifest("press", newest)["actor"] == "chief"


def test_it_speaks_https_to_whom_it_shows_its_certificate(tmp_path, arguments, certificate):
    cert, key = certificate
    asked = [*arguments, "--tls-certificate", str(cert), "--tls-key", str(key)]
    with ServerProcess(asked, tmp_path / "stderr", {"APICAL_CA": str(cert)}) as server:
        assert server.url.startswith("https://")
        with Client(server.url, ca=str(cert)) as client:
            while not client.ready():
                pass
            teach(client, 0, 1)
        with Client(server.url) as client, pytest.raises(Unreachable, match="CERTIFICATE"):
            client.predict("press", [row(1)])


def test_files_that_are_no_certificate_are_told(tmp_path, arguments, certificate):
    cert, key = certificate
    for given, said in (
        (["--tls-certificate", str(cert)], "tls_key: expected a PEM file beside"),
        (["--tls-key", str(key)], "tls_certificate: expected a PEM file beside"),
        (["--tls-certificate", str(key), "--tls-key", str(key)], "expected PEM files that belong"),
        (["--tls-certificate", "none.pem", "--tls-key", str(key)], "expected PEM files that bel"),
    ):
        with pytest.raises(RuntimeError, match=said):
            ServerProcess([*arguments, *given], tmp_path / "stderr")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_warns_of_a_key_over_plain_http(kind):
    with pytest.warns(UserWarning, match=r"goes to http://learner\.factory:8080 over plain HTTP"):
        kind("http://learner.factory:8080", key="x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for url in ("http://127.0.0.1:8080", "http://[::1]:1", "http://localhost", "https://a.b"):
            kind(url, key="x")
        kind("http://learner.factory:8080")


def test_more_connections_than_the_bound_are_refused_and_others_go_on(tmp_path, arguments):
    with ServerProcess(arguments, tmp_path / "stderr") as server:
        server.wait_ready()
        host, port = server.url.removeprefix("http://").split(":")
        with Client(server.url) as client:
            teach(client, 0, 1)
            kept = [socket.create_connection((host, int(port))) for _ in range(12)]
            answers = []
            for each in kept:
                each.settimeout(0.5)
                try:
                    answers.append(each.recv(1000))
                except TimeoutError:
                    answers.append(b"")
            refused = [a for a in answers if a]
            assert len(refused) == 5
            assert all(a.startswith(b"HTTP/1.1 503 Service Unavailable\r\n") for a in refused)
            assert b"expected at most 8 connections" in refused[0]
            # Those that are there already are not the ones to suffer.
            teach(client, 1, 3)
            for each in kept:
                each.close()
        with Client(server.url) as client:
            teach(client, 4, 1)


def test_tls_of_another_time_is_not_spoken(tmp_path, arguments, certificate):
    cert, key = certificate
    asked = [*arguments, "--tls-certificate", str(cert), "--tls-key", str(key)]
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(cert)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with ServerProcess(asked, tmp_path / "stderr") as server:
        host, port = server.url.removeprefix("https://").split(":")
        with socket.create_connection((host, int(port))) as bare, pytest.raises(ssl.SSLError):
            old.wrap_socket(bare, server_hostname=host)
