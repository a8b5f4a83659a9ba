"""`apical snapshots`: operators' verbs, against the learner."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from clients import ApicalClientError, Client

URL = click.option(
    "--url",
    envvar="APICAL_URL",
    default="http://127.0.0.1:8080",
    show_default=True,
    help="The learner (or APICAL_URL).",
)
MODEL = click.option("--model", help="Which model; may be left out where there is one.")
JSON = click.option("--json", "as_json", is_flag=True, help="For programs.")
REASON = click.option("--reason", required=True, help="Why; goes into the audit trail.")
ACTOR = click.option(
    "--actor", default=getpass.getuser, show_default="the OS user", help="By whose hand."
)

Command = TypeVar("Command", bound=Callable[..., Any])


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def add(function: Command) -> Command:
        for option in reversed(options):
            function = option(function)
        return function

    return add


class _Learner:
    """A client on one model; its errors become the command's."""

    def __init__(self, url: str, model: str | None) -> None:
        self._url = url
        self.model = model or self._only_model()

    def ask(self, call: Callable[[Client], Any]) -> Any:
        try:
            with Client(self._url, timeout_s=60.0) as client:
                return call(client)
        except ApicalClientError as error:
            raise click.ClickException(str(error)) from error

    def _only_model(self) -> str:
        names = [m.name for m in self.ask(lambda c: c.models())]
        if len(names) != 1:
            raise click.UsageError(f"expected --model with one of {names}, found none")
        return str(names[0])


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@click.group(name="snapshots", help="List snapshots, look at them, go back to one.")
def command() -> None:
    pass


@command.command(name="list", help="All finished snapshots, oldest first.")
@_options(URL, MODEL, JSON)
def list_command(url: str, model: str | None, as_json: bool) -> None:
    learner = _Learner(url, model)
    found = learner.ask(lambda c: c.snapshots(learner.model))
    info = learner.ask(lambda c: c.model(learner.model)).raw
    if as_json:
        _print_json([s.raw for s in found])
        return
    table = Table(title=f"{learner.model}: live at seq {info['seq']}")
    for column in ("version", "seq", "parent", "taken at", "cause", "accuracy", "log-loss", ""):
        table.add_column(column, justify="right" if column != "cause" else "left")
    for snapshot in found:
        s = snapshot.raw
        table.add_row(
            str(s["version"]),
            str(s["seq"]),
            str(s["parent"] or ""),
            _when(s["created_at"]),
            s["cause"],
            *("" if s[k] is None else f"{s[k]:.4f}" for k in ("accuracy", "log_loss")),
            "champion" if s["version"] == info.get("champion") else "",
        )
    Console().print(table)


@command.command(name="show", help="One snapshot's manifest.")
@click.argument("version", type=int)
@_options(URL, MODEL)
def show_command(version: int, url: str, model: str | None) -> None:
    learner = _Learner(url, model)
    _print_json(learner.ask(lambda c: c.manifest(learner.model, version)))


@command.command(name="take", help="Snapshot the live network now.")
@_options(URL, MODEL, ACTOR)
@click.option("--reason", default=None, help="Why; goes into the manifest.")
def take_command(url: str, model: str | None, actor: str, reason: str | None) -> None:
    learner = _Learner(url, model)
    taken = learner.ask(lambda c: c.snapshot(learner.model, reason=reason, actor=actor))
    click.echo(f"{learner.model}: snapshot {taken.version} at seq {taken.seq}")


@command.command(name="rollback", help="The learner's whole state becomes that of VERSION.")
@click.argument("version", type=int)
@_options(URL, MODEL, REASON, ACTOR, JSON)
def rollback_command(
    version: int, url: str, model: str | None, reason: str, actor: str, as_json: bool
) -> None:
    learner = _Learner(url, model)
    done = learner.ask(lambda c: c.rollback(learner.model, version, reason=reason, actor=actor))
    if as_json:
        _print_json(done)
        return
    click.echo(
        f"{learner.model}: the state of snapshot {version} is live again as event "
        f"{done['seq']}, published as snapshot {done['snapshot']}, which is champion"
    )
