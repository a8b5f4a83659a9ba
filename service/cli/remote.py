"""What the verbs share: options, the learner they talk to, times and tables."""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clients import ApicalClientError, Client, Rejected, Unreachable
from service.cli.said import Failure, cell, plain, say

URL = click.option(
    "--url",
    envvar="APICAL_URL",
    default="http://127.0.0.1:8080",
    show_default=True,
    help="The learner (or APICAL_URL).",
)


class _Text(click.ParamType):  # type: ignore[type-arg]
    """Text as it was typed: in a terminal that is set to ASCII, Python hands over the bytes of all
    other characters one by one."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


TEXT = _Text()
MODEL = click.option("--model", type=TEXT, help="Which model; may be left out where there is one.")
JSON = click.option("--json", "as_json", is_flag=True, help="For programs.")
REASON = click.option("--reason", type=TEXT, required=True, help="Why; goes into the audit trail.")
ACTOR = click.option(
    "--actor",
    type=TEXT,
    default=lambda: None if os.environ.get("APICAL_KEY") else getpass.getuser(),
    show_default="the name of the key in APICAL_KEY, or the OS user",
    help="By whose hand; where keys are asked for, it is the key's name.",
)
YES = click.option("--yes", is_flag=True, help="Ask nothing, also on a terminal.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")


class Remote:
    """A learner's model; the client's errors become the command's."""

    def __init__(self, url: str, model: str | None) -> None:
        self._url = url
        self.model = model or self._only_model()

    def ask(self, call: Callable[[Client], Any]) -> Any:
        try:
            with Client(self._url, timeout_s=120.0) as client:
                at = client.url
                return call(client)
        except Unreachable as error:
            raise Failure(
                f"no learner at {at}: is `apical serve` running? Another address is said by "
                f"--url or APICAL_URL. ({error.__cause__})"
            ) from error
        except ApicalClientError as error:
            asked = isinstance(error, Rejected) and error.status == 401
            hint = "; a key is taken from APICAL_KEY" if asked else ""
            raise Failure(f"{error}{hint}") from error

    def do(self, verb: str, **values: Any) -> dict[str, Any]:
        """One verb by name."""
        done: dict[str, Any] = self.ask(lambda c: c.verb(self.model, verb, **values))
        return done

    def sure(self, verb: str, yes: bool, **values: Any) -> None:
        """On a terminal show what a verb would do, and go on only if that is meant.

        Programs and pipes are asked nothing. Raises click.Abort.
        """
        if yes or not (sys.stdin.isatty() and sys.stdout.isatty()):
            return
        report(self.do(verb, dry_run=True, **values), False, "")
        click.confirm(f"{self.model}: {verb}?", abort=True)

    def page(self, what: str, **query: Any) -> dict[str, Any]:
        """One page about the model."""
        found: dict[str, Any] = self.ask(lambda c: c.ask(self.model, what, **query))
        return found

    def _only_model(self) -> str:
        found = [m.raw for m in self.ask(lambda c: c.models())]
        if len(found) != 1:
            known = ", ".join(map(titled, found))
            raise click.UsageError(plain(f"expected --model with one of [{known}], found none"))
        return str(found[0]["model"])


def titled(about: dict[str, Any]) -> str:
    """A model's name, and what people call it."""
    shown = about.get("display_name")
    return f"{about['model']} ({shown})" if shown else str(about["model"])


def when(seconds: float) -> str:
    """A unix time for people, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def print_json(value: Any) -> None:
    # Inside its strings, where alone it can stand, such an escape is JSON too.
    say(json.dumps(value, indent=2, ensure_ascii=False))


LEAST_FOLDED = 24
"""Characters to a line that a folded column has at least."""


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    folded: str | None = None,
    spare: Sequence[str] = (),
) -> None:
    """A table on standard output; no cell is ever cut short.

    What does not fit a terminal loses its ``spare`` columns, the first ones first, and has the
    column ``folded`` in several lines. To a file or a pipe goes all of it.
    """
    console = Console()
    cells = [[Text(cell(each)) for each in row] for row in rows]
    natural = {
        name: max([len(name), *(row[place].cell_len for row in cells)]) + 3
        for place, name in enumerate(columns)
    }
    left = list(columns)

    def needed() -> int:
        # A fold is between words, where there are any.
        return 2 + sum(
            min(natural[name], LEAST_FOLDED) if name == folded else natural[name] for name in left
        )

    for name in spare if console.is_terminal else ():
        if needed() > console.width:
            left.remove(name)
    # As `Text`: what stands in square brackets is text too, no markup.
    made = Table(title=Text(cell(title)), box=SIMPLE_HEAD, title_justify="left")
    for name in left:
        fold = name == folded
        made.add_column(name, no_wrap=not fold, overflow="fold")
    for row in cells:
        made.add_row(*(each for each, name in zip(row, columns, strict=True) if name in left))
    whole = 2 + sum(natural[name] for name in left)
    width = max(console.width, needed()) if console.is_terminal else max(console.width, whole)
    Console(width=width).print(made)


def report(done: dict[str, Any], as_json: bool, sentence: str) -> None:
    """What a verb did, or would do: a sentence for people, the document for programs."""
    if as_json:
        print_json(done)
    elif done.get("dry_run"):
        say("would do, nothing was changed:")
        for key, value in done.items():
            if key != "dry_run" and value is not None:
                say(f"  {key.replace('_', ' ')}: {value}")
    else:
        say(sentence)
