"""`apical replica`: a read-only process that follows the champion."""

from __future__ import annotations

import click

from model_store.errors import StorageError
from service.bootstrap.replica import open_replica
from service.hosting.uvicorn import configure_logs, run


@click.command(help="Run a read-only replica that follows the champion of a store.")
@click.option(
    "--store",
    "location",
    default="apical-data/store",
    show_default=True,
    help="The learner's store.",
)
@click.option("--model", "models", multiple=True, help="Serve this one; repeatable; default all.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8081, show_default=True, help="0: any."
)
@click.option(
    "--poll-s",
    type=click.FloatRange(min=0.01),
    default=1.0,
    show_default=True,
    help="Seconds between two looks at the alias.",
)
@click.option("--log-json", is_flag=True, help="Log as JSON lines.")
def command(
    location: str, models: tuple[str, ...], host: str, port: int, poll_s: float, log_json: bool
) -> None:
    configure_logs(log_json)
    try:
        replica = open_replica(location, models, poll_s=poll_s)
    except StorageError as error:
        raise click.ClickException(str(error)) from error
    run(replica, host, port)
