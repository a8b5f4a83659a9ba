"""`apical init`: a configuration to start from."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import click

from service.cli.said import Failure, say
from service.errors import ConfigurationError


@click.command(
    help="Write an apical.toml to start from, for FILE or in general. FILE is CSV or Parquet, or "
    "an example that comes with River, such as river:Shuttle; `apical send --help` names them all."
)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--target", help="The column that is to be predicted.")
@click.option("--model", help="The model's name; by default the file's.")
@click.option("--encoding", help="Of the file, where it is found out wrongly; such as cp932.")
@click.option("--separator", help="Of the file's cells, where it is found out wrongly.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("apical.toml"),
    show_default=True,
    help="Where to write it.",
)
def command(
    file: Path | None,
    target: str | None,
    model: str | None,
    encoding: str | None,
    separator: str | None,
    out: Path,
) -> None:
    # As it was called before it read files.
    plain = file if file is not None and file.suffix == ".toml" else None
    if file is None or plain is not None:
        where = plain or out
        _write(where, files("service.cli").joinpath("apical.toml").read_text("utf-8"))
        say(f"wrote {where}; `apical serve --config {where}` runs it")
        return
    try:
        _from_file(file, target, model, encoding, separator, out)
    except ConfigurationError as error:
        raise Failure(str(error)) from error


def _from_file(
    path: Path,
    target: str | None,
    model: str | None,
    encoding: str | None,
    separator: str | None,
    out: Path,
) -> None:
    from service.config.file import parse
    from service.tables.described import describe
    from service.tables.examples import TARGET, is_example, name_of, read_example
    from service.tables.reading import read
    from service.tables.written import toml

    example = is_example(path)
    file = read_example(path) if example else read(path, encoding, separator)
    target = target or (TARGET if example else None)
    if target is None:
        raise click.UsageError(f"expected --target with one of the columns {file.names}")
    described = describe(file, target)
    model = model or (name_of(path).lower() if example else None)
    name = model or re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).strip("-_.")[:64] or "model"
    # What of the file's name a model's cannot have people see all the same.
    shown = path.stem.strip()[:100] if model is None and name != path.stem else None
    text = toml(path.name, name, described, shown if shown and shown.isprintable() else None)
    # What is written must be readable: better told here than by `apical serve`.
    parse(text, str(out))
    _write(out, text)
    parted = f", cells parted by {file.separator!r}" if file.separator else ""
    comma = any(sensor.numbers.comma for sensor in described.sensors)
    say(
        f"{path}: {file.rows} rows, {file.encoding}{parted}{', decimal commas' if comma else ''}; "
        f"{len(described.sensors)} sensors, {len(described.classes)} classes"
    )
    for sensor in described.sensors:
        if sensor.values:
            say(f"category: {sensor.name}: {sensor.why}")
    for name_, why in described.left_out.items():
        say(f"left out: {name_}: {why}")
    for warning in [*file.doubts, *described.warnings]:
        say(f"mind: {warning}")
    say(f"wrote {out}; fill in the units, then:")
    say(f"  apical serve --config {out}")
    say(f"  apical send {path}{'' if example and target == TARGET else f' --target {target}'}")


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Failure(f"{path} exists; it was left as it is") from None
    except OSError as error:
        raise Failure(f"{path}: cannot be written: {error}") from error
