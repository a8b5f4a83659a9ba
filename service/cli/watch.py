"""`apical watch`: the screen of `apical status`, kept up to date."""

from __future__ import annotations

import click

from service.cli.options import options
from service.cli.remote import JSON, MODEL, URL
from service.cli.status import show


@click.command(name="watch", help="`apical status` again and again, until stopped.")
@click.option(
    "--every", type=click.FloatRange(min=0.2), default=5.0, show_default=True, help="Seconds."
)
@options(URL, MODEL, JSON)
def command(every: float, url: str, model: str | None, as_json: bool) -> None:
    show(every, url, model, as_json)
