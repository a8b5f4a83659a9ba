"""`apical restore`: a backup, put where there is neither log nor store."""

from __future__ import annotations

from pathlib import Path

import click

from model_store.backup import restore
from service.cli.local import CONFIG, configured, spoken_errors
from service.cli.said import say


@click.command(help="Put the backup in DIRECTORY in place; log and store must not exist yet.")
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@CONFIG
def command(directory: Path, path: Path) -> None:
    storage = configured(path).storage
    with spoken_errors():
        copied = restore(directory, Path(storage.log), storage.store)
    for model, count in copied.snapshots.items():
        say(f"{model}: {count} snapshots restored")
    say(f"the event log, {copied.log_bytes} bytes; `apical serve` goes on from here")
