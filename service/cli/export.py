"""`apical export`: events of the log in a file, for archives, analysis and devices."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from model_store.backup import copy_log
from model_store.log.log import EventLog
from service.cli.local import CONFIG, configured, spoken_errors
from service.cli.said import Failure, say
from service.history.exported import write_lines


@click.command(
    help="Write a model's events to FILE, also while a learner runs: as lines of JSON where its "
    "name ends in .jsonl, else as Parquet."
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--model", help="Which model; may be left out where there is one.")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Events above this one.")
@click.option("--until", type=click.IntRange(min=0), help="Up to this one; default: the last.")
@click.option("--force", is_flag=True, help="Write over FILE if there is one.")
@CONFIG
def command(
    file: Path, model: str | None, after: int, until: int | None, force: bool, path: Path
) -> None:
    if file.exists() and not force:
        raise Failure(f"{file}: expected no such file, found one; --force writes over it")
    configuration = configured(path)
    specs = {spec.name: spec for spec in configuration.models}
    names = list(specs)
    if model is None and len(names) > 1:
        raise click.UsageError(f"expected --model with one of {names}, found none")
    name = model or names[0]
    values = [feature.values for feature in specs[name].features] if name in specs else []
    log = Path(configuration.storage.log)
    with spoken_errors(), tempfile.TemporaryDirectory(prefix="apical-export-") as folder:
        copy_log(log, Path(folder))
        with EventLog.open(Path(folder)) as events:
            start = max(after, events.pruned(name))
            if file.suffix == ".jsonl":
                count = write_lines(file, events.events(name, start, until), values)
            else:
                count = events.export(name, file, start, until)
    say(f"{name}: {count} events written to {file}")
