"""`apical init`: a configuration to start from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from service.cli.said import Failure, say


@click.command(help="Write an apical.toml to start from.")
@click.argument("path", type=click.Path(path_type=Path), default=Path("apical.toml"))
def command(path: Path) -> None:
    text = files("service.cli").joinpath("apical.toml").read_text("utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Failure(f"{path} exists; it was left as it is") from None
    say(f"wrote {path}; `apical serve --config {path}` runs it")
