"""Running an engine under uvicorn, for the commands that are servers."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Collection

import click
import structlog
import uvicorn

from model_store.errors import StorageError
from service.api.app import create_app
from service.api.engine import Engine
from service.errors import ApicalError
from service.hosting.protocol import BoundedProtocol


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


def run(
    engine: Engine,
    host: str,
    port: int,
    *,
    allowed_hosts: Collection[str] = (),
    root_path: str = "",
    insecure: bool = False,
) -> None:
    """Serve until SIGINT or SIGTERM; then drain, and close the engine.

    Prints ``listening on http://HOST:PORT`` once the socket is bound, which a supervisor can wait
    for where ``port`` is 0.

    Parameters
    ----------
    allowed_hosts
        See `create_app`; the name that it listens on is allowed too.
    root_path
        Where a proxy has put it, such as ``/apical``; for the page that documents it.
    insecure
        Others may reach it too, although nobody is asked who they are.

    Raises
    ------
    click.ClickException
        It cannot listen there, or others could reach it and that was not asked for.
    """
    if not insecure and not _loopback(host):
        engine.close()
        raise click.ClickException(
            f"host: expected a loopback address, found {host}: whoever reaches this server may "
            "teach it and roll it back, for nobody is asked who they are. Put something before it "
            "that asks, and say --insecure"
        )
    fatal: list[BaseException] = []

    def on_fatal(error: BaseException) -> None:
        fatal.append(error)
        server.should_exit = True

    app = create_app(engine, on_fatal, hosts={host, *allowed_hosts})
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
        http=BoundedProtocol,
        loop="uvloop",
        root_path=root_path,
        timeout_graceful_shutdown=10,
        timeout_keep_alive=75,
    )
    server = uvicorn.Server(config)
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"listening on http://{shown}:{bound.getsockname()[1]}")
    try:
        server.run(sockets=[bound])
    finally:
        # Two signals end the server at once, without what it does at an orderly end.
        engine.close()
    if fatal:
        if isinstance(fatal[0], ApicalError | StorageError):
            raise click.ClickException(str(fatal[0]))
        raise fatal[0]
