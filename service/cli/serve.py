"""`apical serve`: the learner."""

from __future__ import annotations

from pathlib import Path

import click

from model_store.errors import StorageError
from service.bootstrap.learner import open_learner
from service.cli.progress import ReplayProgress
from service.cli.said import Failure
from service.config import load
from service.errors import ApicalError
from service.hosting.uvicorn import configure_logs, run


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
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    help="A name under which clients reach it; repeatable.",
)
@click.option(
    "--insecure",
    is_flag=True,
    help="Listen where others can reach it, although nobody is asked who they are.",
)
@click.option("--root-path", default="", help="Where a proxy has put it, such as /apical.")
@click.option("--log-json", is_flag=True, help="Log as JSON lines.")
def command(
    path: Path,
    host: str | None,
    port: int | None,
    accept_loss: bool,
    take_over: bool,
    allowed_hosts: tuple[str, ...],
    insecure: bool,
    root_path: str,
    log_json: bool,
) -> None:
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
    run(
        learner,
        host or server.host,
        server.port if port is None else port,
        allowed_hosts={*server.allowed_hosts, *allowed_hosts},
        root_path=root_path or server.root_path,
        insecure=insecure,
    )
