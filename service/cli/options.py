"""What options the commands share, and where a server is to be reached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def options(*chosen: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator."""

    def add(function: Command) -> Command:
        for option in reversed(chosen):
            function = option(function)
        return function

    return add


REACHED: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--allowed-host",
        "allowed_hosts",
        multiple=True,
        help="A name under which clients reach it; repeatable.",
    ),
    click.option(
        "--keys",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The file of API keys that clients must have one of; see `apical keys`.",
    ),
    click.option(
        "--insecure",
        is_flag=True,
        help="Listen where others can reach it, although nobody is asked who they are.",
    ),
    click.option(
        "--tls-certificate",
        type=click.Path(path_type=Path, dir_okay=False),
        help="A PEM file; with --tls-key it speaks HTTPS.",
    ),
    click.option(
        "--tls-key",
        type=click.Path(path_type=Path, dir_okay=False),
        help="A PEM file: the certificate's private key.",
    ),
    click.option("--root-path", default="", help="Where a proxy has put it, such as /apical."),
    click.option("--log-json", is_flag=True, help="Log as JSON lines."),
)
"""Of a server, beside host and port."""
