"""Where log and store of a configuration are, for the commands that work on them directly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from model_store.errors import StorageError
from service.cli.said import Failure
from service.config.file import load
from service.config.process import Configuration
from service.errors import ApicalError

CONFIG: Callable[[Callable[..., None]], Callable[..., None]] = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=Path("apical.toml"),
    show_default=True,
    help="The configuration file, for the places of log and store.",
)


@contextmanager
def spoken_errors() -> Iterator[None]:
    """Domain errors as one line for people, instead of a traceback."""
    try:
        yield
    except (ApicalError, StorageError, OSError) as error:
        raise Failure(str(error)) from error


def configured(path: Path) -> Configuration:
    """The configuration of a file; raises ClickException."""
    with spoken_errors():
        return load(path)
