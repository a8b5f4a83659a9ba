"""`apical serve`: the learner."""

from __future__ import annotations

from pathlib import Path

import click

from service.cli.options import REACHED, options
from service.cli.said import Failure


@click.command(help="Run a learner: predict, learn, snapshot.")
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=Path("apical.toml"),
    show_default=True,
    help="The configuration file.",
)
@click.option("--host", help="Listen here instead of what the file says.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Listen here instead of what the file says; 0: any.",
)
@click.option(
    "--accept-loss",
    is_flag=True,
    help="Go on although the log is damaged or ends early; the gap is recorded.",
)
@click.option(
    "--take-over",
    is_flag=True,
    help="Take a store in a bucket from a learner that has not let go of it, such as a dead one.",
)
@options(*REACHED)
def command(
    path: Path,
    host: str | None,
    port: int | None,
    accept_loss: bool,
    take_over: bool,
    allowed_hosts: tuple[str, ...],
    keys: Path | None,
    insecure: bool,
    tls_certificate: Path | None,
    tls_key: Path | None,
    root_path: str,
    log_json: bool,
) -> None:
    # Here, for `--help` needs nothing of this, and all of it takes a second.
    from model_store.errors import StorageError
    from service.bootstrap.learner import open_learner
    from service.cli.progress import ReplayProgress
    from service.config.file import load
    from service.errors import ApicalError
    from service.hosting.uvicorn import Reach, configure_logs, run

    configure_logs(log_json)
    try:
        configuration = load(path)
        learner = open_learner(
            configuration,
            accept_loss=accept_loss,
            take_over=take_over,
            progress=ReplayProgress(),
        )
    except (ApicalError, StorageError) as error:
        raise Failure(str(error)) from error
    server = configuration.server
    reach = Reach(
        host or server.host,
        server.port if port is None else port,
        allowed_hosts=(*server.allowed_hosts, *allowed_hosts),
        root_path=root_path or server.root_path,
        keys=keys or _path(server.keys),
        insecure=insecure,
        tls_certificate=tls_certificate or _path(server.tls_certificate),
        tls_key=tls_key or _path(server.tls_key),
    )
    run(learner, reach)


def _path(said: str) -> Path | None:
    return Path(said) if said else None
