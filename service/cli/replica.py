"""`apical replica`: a read-only process that follows the champion."""

from __future__ import annotations

from pathlib import Path

import click

from service.cli.options import REACHED, options
from service.cli.said import Failure
from service.config.limits import Limits


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
@click.option(
    "--requests-per-s",
    type=click.IntRange(min=1),
    default=Limits().requests_per_s,
    show_default=True,
    help="Requests of one key in a second.",
)
@click.option(
    "--rows-per-s",
    type=click.IntRange(min=1),
    default=Limits().rows_per_s,
    show_default=True,
    help="Rows of one key in a second.",
)
@click.option(
    "--connections",
    type=click.IntRange(min=1),
    default=Limits().connections,
    show_default=True,
    help="Connections at once.",
)
@options(*REACHED)
def command(
    location: str,
    models: tuple[str, ...],
    host: str,
    port: int,
    poll_s: float,
    rows_per_batch: int,
    body_bytes: int,
    serve_untrained: bool,
    requests_per_s: int,
    rows_per_s: int,
    connections: int,
    allowed_hosts: tuple[str, ...],
    keys: Path | None,
    insecure: bool,
    tls_certificate: Path | None,
    tls_key: Path | None,
    root_path: str,
    log_json: bool,
) -> None:
    # Here, for `--help` needs nothing of this.
    from model_store.errors import StorageError
    from service.bootstrap.replica import open_replica
    from service.hosting.uvicorn import Reach, configure_logs, run

    configure_logs(log_json)
    if rows_per_s < rows_per_batch:
        raise click.UsageError(
            f"--rows-per-s: expected at least --rows-per-batch, {rows_per_batch}, "
            f"found {rows_per_s}"
        )
    limits = Limits(
        rows_per_batch=rows_per_batch,
        body_bytes=body_bytes,
        requests_per_s=requests_per_s,
        rows_per_s=rows_per_s,
        connections=connections,
    )
    try:
        replica = open_replica(
            location, models, poll_s=poll_s, limits=limits, serve_untrained=serve_untrained
        )
    except StorageError as error:
        raise Failure(str(error)) from error
    reach = Reach(
        host,
        port,
        allowed_hosts=allowed_hosts,
        root_path=root_path,
        keys=keys,
        insecure=insecure,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
    )
    run(replica, reach)
