"""`apical replica`: a read-only process that follows the champion."""

from __future__ import annotations

import click

from model_store.errors import StorageError
from service.bootstrap.replica import open_replica
from service.cli.said import Failure
from service.config import Limits
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
@click.option(
    "--rows-per-batch",
    type=click.IntRange(1, 1_000_000),
    default=Limits().rows_per_batch,
    show_default=True,
    help="Rows of one request.",
)
@click.option(
    "--body-bytes",
    type=click.IntRange(min=1024),
    default=Limits().body_bytes,
    show_default=True,
    help="Bytes of one request's body.",
)
@click.option(
    "--serve-untrained/--no-serve-untrained",
    default=True,
    show_default=True,
    help="Answer while no champion has learned anything, and say so in every reply; or 503.",
)
@click.option("--log-json", is_flag=True, help="Log as JSON lines.")
def command(
    location: str,
    models: tuple[str, ...],
    host: str,
    port: int,
    poll_s: float,
    allowed_hosts: tuple[str, ...],
    insecure: bool,
    root_path: str,
    rows_per_batch: int,
    body_bytes: int,
    serve_untrained: bool,
    log_json: bool,
) -> None:
    configure_logs(log_json)
    limits = Limits(rows_per_batch=rows_per_batch, body_bytes=body_bytes)
    try:
        replica = open_replica(
            location, models, poll_s=poll_s, limits=limits, serve_untrained=serve_untrained
        )
    except StorageError as error:
        raise Failure(str(error)) from error
    run(
        replica,
        host,
        port,
        allowed_hosts=allowed_hosts,
        root_path=root_path,
        insecure=insecure,
    )
