"""Running an engine under uvicorn, for the commands that are servers."""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import socket
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import click
import structlog
import uvicorn

from model_store.errors import StorageError
from service.access.keyring import Keyring
from service.api.app import create_app
from service.api.engine import Engine
from service.errors import ApicalError, ConfigurationError
from service.hosting.protocol import bounded
from service.hosting.tracing import traced

log = structlog.get_logger()


class _Stderr:
    """Standard error, whose own failure must not fail what is being logged: the disk that a log
    line cannot be written to may be the one whose filling up it tells of."""

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError):
            print(message, file=sys.stderr, flush=True)

    debug = info = warning = error = critical = msg


def configure_logs(as_json: bool) -> None:
    """One line per event that matters, on standard error; nothing per row."""
    renderer = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=lambda *args: _Stderr(),
    )


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


@dataclass(frozen=True)
class Reach:
    """Where a server is reached, and by whom.

    ``allowed_hosts`` as in `create_app`; the name that it listens on is allowed too. ``root_path``
    is where a proxy has put it, such as ``/apical``. ``keys`` is the file of keys that clients must
    have one of; without it nobody is asked, which beyond loopback has to be meant: ``insecure``.
    ``tls_certificate`` and ``tls_key`` are PEM files, both or none.
    """

    host: str
    port: int
    allowed_hosts: Collection[str] = ()
    root_path: str = ""
    keys: Path | None = None
    insecure: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    @property
    def scheme(self) -> str:
        return "https" if self.tls_certificate else "http"

    def keyring(self) -> Keyring | None:
        """Of those who may ask; raises ConfigurationError."""
        for one, other in ((self.tls_certificate, "tls_key"), (self.tls_key, "tls_certificate")):
            if one is not None and getattr(self, other) is None:
                raise ConfigurationError(f"{other}: expected a PEM file beside {one}, found none")
        if self.keys is not None:
            return Keyring(self.keys)
        if not self.insecure and not _loopback(self.host):
            raise ConfigurationError(
                f"host: expected a loopback address, found {self.host}: whoever reaches this "
                "server may teach it and roll it back, for nobody is asked who they are. Make keys "
                "by `apical keys add` and say --keys FILE; or put something before it that asks, "
                "and say --insecure"
            )
        return None


def run(engine: Engine, reach: Reach) -> None:
    """Serve until SIGINT or SIGTERM; then drain, and close the engine.

    Prints ``listening on http://HOST:PORT`` once the socket is bound, which a supervisor can wait
    for where the port is 0.

    Raises
    ------
    click.ClickException
        It cannot listen there, keys or certificate cannot be read, or others could reach it and
        that was not asked for.
    """
    host, port = reach.host, reach.port
    try:
        keyring = reach.keyring()
    except ConfigurationError as error:
        engine.close()
        raise click.ClickException(str(error)) from error
    if keyring is not None and reach.scheme == "http" and not _loopback(host):
        log.warning(
            "keys over plain HTTP",
            why="whoever can listen on the way reads them; say --tls-certificate and --tls-key, "
            "or let a proxy on this machine speak TLS",
        )
    fatal: list[BaseException] = []

    def on_fatal(error: BaseException) -> None:
        fatal.append(error)
        server.should_exit = True

    hosts = {host, *reach.allowed_hosts}
    app = traced(create_app(engine, on_fatal, hosts=hosts, keyring=keyring))
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # `::` means every address, as `0.0.0.0` does, not those of one family alone.
        both = host == "::" and socket.has_dualstack_ipv6()
        bound = socket.create_server(
            (host, port), family=family, backlog=2048, reuse_port=False, dualstack_ipv6=both
        )
    except OSError as error:
        engine.close()
        raise click.ClickException(f"cannot listen on {host}:{port}: {error}") from error
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        http=bounded(engine.limits.connections),
        ws="none",
        loop="uvloop",
        root_path=reach.root_path,
        ssl_certfile=reach.tls_certificate,
        ssl_keyfile=reach.tls_key,
        timeout_graceful_shutdown=10,
        timeout_keep_alive=75,
    )
    try:
        config.load()
    # Of OpenSSL: no such file, no certificate in it, or another's key.
    except OSError as error:
        bound.close()
        engine.close()
        raise click.ClickException(
            f"tls_certificate, tls_key: expected PEM files that belong together, found {error}"
        ) from error
    server = uvicorn.Server(config)
    # Hardly anything that is loaded by now is ever let go of: no collection need look at it again.
    gc.collect()
    gc.freeze()
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"listening on {reach.scheme}://{shown}:{bound.getsockname()[1]}")
    try:
        server.run(sockets=[bound])
    finally:
        # Two signals end the server at once, without what it does at an orderly end.
        engine.close()
    if fatal:
        if isinstance(fatal[0], ApicalError | StorageError):
            raise click.ClickException(str(fatal[0]))
        raise fatal[0]
