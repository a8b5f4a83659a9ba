"""`apical keys`: who may read, teach and operate."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from service.access import keys
from service.access.keys import Key, Role
from service.cli.options import options
from service.cli.remote import print_json, table
from service.cli.said import Failure, say
from service.errors import ConfigurationError

FILE = click.option(
    "--keys",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("apical-keys.json"),
    show_default=True,
    help="The file of keys.",
)


@click.group(name="keys", help="API keys: add one, list them, revoke one.")
def command() -> None:
    pass


@command.command(name="add", help="Make a key for NAME, and print it, this once.")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(get_args(Role)),
    required=True,
    help="reader: reads; line: predicts, teaches and labels too; operator: all.",
)
@click.option("--model", "models", multiple=True, help="For this model alone; repeatable.")
@click.option("--line", help="Its requests are of this line alone.")
@options(FILE)
def add(name: str, role: Role, models: tuple[str, ...], line: str | None, path: Path) -> None:
    try:
        _, secret = keys.add(path, name, role, models, line)
    except ConfigurationError as error:
        raise Failure(str(error)) from error
    say(f"key of {name!r}, {role}; it is shown this once, {path} has its digest alone", err=True)
    say(secret)


@command.command(name="list", help="The keys of the file, the revoked ones too.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@options(FILE)
def show(path: Path, as_json: bool) -> None:
    try:
        found = keys.read(path)
    except ConfigurationError as error:
        raise Failure(str(error)) from error
    if as_json:
        print_json([key.model_dump(mode="json", exclude={"digest"}) for key in found])
        return
    columns = ["id", "name", "role", "models", "line", "made", "revoked"]
    table(str(path), columns, [_row(key) for key in found])


@command.command(name="revoke", help="NAME, or the key with this id, opens nothing any more.")
@click.argument("name")
@options(FILE)
def revoke(name: str, path: Path) -> None:
    try:
        key = keys.revoke(path, name)
    except ConfigurationError as error:
        raise Failure(str(error)) from error
    say(f"{key.name}: revoked; servers that read {path} refuse it within a second")


def _row(key: Key) -> list[str]:
    revoked = "" if key.revoked_at is None else f"{key.revoked_at:%Y-%m-%d %H:%M:%SZ}"
    return [
        key.id,
        key.name,
        key.role,
        ", ".join(key.models) or "all",
        key.line or "any",
        f"{key.created_at:%Y-%m-%d %H:%M:%SZ}",
        revoked,
    ]
