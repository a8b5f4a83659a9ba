"""`apical backup`: log and store, copied together while the learner runs."""

from __future__ import annotations

from pathlib import Path

import click

from model_store.backup import backup
from service.cli.local import CONFIG, configured, spoken_errors
from service.cli.said import say


@click.command(help="Copy log and store into DIRECTORY, also while a learner runs.")
@click.argument("directory", type=click.Path(path_type=Path))
@CONFIG
def command(directory: Path, path: Path) -> None:
    storage = configured(path).storage
    with spoken_errors():
        copied = backup(Path(storage.log), storage.store, directory)
    for model, count in copied.snapshots.items():
        say(f"{model}: {count} snapshots copied and verified")
    say(f"the event log, {copied.log_bytes} bytes; `apical restore {directory}` puts it all back")
