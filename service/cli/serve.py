"""`apical serve`: the learner."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import click

from model_store.errors import StorageError
from model_store.log.log import EventLog
from model_store.snapshots.store import SnapshotStore
from service.cli.progress import ReplayProgress
from service.config import Configuration, load
from service.errors import ApicalError
from service.hosting.uvicorn import configure_logs, run
from service.learner.learner import Learner
from service.manifest import readable
from service.metrics import Metrics


def open_learner(
    configuration: Configuration, *, accept_loss: bool = False, take_over: bool = False
) -> Learner:
    """Open store and log of a configuration and put a learner on them; see `SnapshotStore.open`.

    Raises
    ------
    StorageError
        Another learner holds them, or they cannot be trusted; names the file and the remedy.
    """
    store = SnapshotStore.open(configuration.storage.store, write=True, take_over=take_over)
    try:
        newest = {model: _newest_seq(store, model) for model in store.models()}
        events = EventLog.open(
            Path(configuration.storage.log), newest_snapshots=newest, accept_loss=accept_loss
        )
    except BaseException:
        store.close()
        raise
    metrics = Metrics()
    metrics.build.labels(version("apical"), "learner").set(1)
    return Learner(configuration, store, events, metrics, progress=ReplayProgress())


def _newest_seq(store: SnapshotStore, model: str) -> int:
    """Of the newest snapshot whose manifest can be read; `recover` sets the others aside. A staged
    one counts too: the log had got as far as that."""
    newest = next(readable(store, model), None)
    return newest.seq if newest is not None else 0


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
@click.option("--log-json", is_flag=True, help="Log as JSON lines.")
def command(
    path: Path,
    host: str | None,
    port: int | None,
    accept_loss: bool,
    take_over: bool,
    log_json: bool,
) -> None:
    configure_logs(log_json)
    try:
        configuration = load(path)
        learner = open_learner(configuration, accept_loss=accept_loss, take_over=take_over)
    except (ApicalError, StorageError) as error:
        raise click.ClickException(str(error)) from error
    server = configuration.server
    run(learner, host or server.host, server.port if port is None else port, learner)
