"""Text from elsewhere on a terminal: reasons, names and messages are shown, never obeyed."""

from __future__ import annotations

import re
import sys
from typing import Any

import click

OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
"""What a terminal acts upon instead of showing it: controls, and marks that turn or hide text."""


def plain(text: Any) -> str:
    """The text with all that a terminal would obey written out."""
    return OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


def cell(text: Any) -> str:
    """As `plain`, in one line."""
    return plain(text).replace("\n", "\\n").replace("\t", "\\t")


def say(text: Any, *, err: bool = False) -> None:
    """One line, or several, on standard output."""
    click.echo(plain(text), err=err)


class Failure(click.ClickException):
    """What ends a command, with a message that may hold text from elsewhere."""

    def format_message(self) -> str:
        return plain(self.message)


def any_terminal() -> None:
    """What a terminal cannot show is shown as a question mark, and is no traceback."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
