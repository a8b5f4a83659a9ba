"""`apical events`: which hour, and which line, was bad."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from service.cli.moments import MOMENT
from service.cli.options import options
from service.cli.remote import JSON, MODEL, TEXT, URL, Remote, print_json, table, when
from service.cli.said import say


@click.command(name="events", help="Errors by time and line: find the bad hour.")
@click.option(
    "--every", type=click.FloatRange(min=1), default=600.0, show_default=True, help="Seconds."
)
@click.option("--since", type=MOMENT, help="Such as 03:12, '2h ago', 2026-03-01T03:12:00Z.")
@click.option("--until", type=MOMENT, help="Up to, but not at.")
@click.option("--line", type=TEXT, help="This line alone.")
@click.option("--observed", is_flag=True, help="By the time that the line observed, where it said.")
@click.option("--worst", type=click.IntRange(1), help="So many with the most errors alone.")
@options(URL, MODEL, JSON)
def command(
    every: float,
    since: str | None,
    until: str | None,
    line: str | None,
    observed: bool,
    worst: int | None,
    url: str,
    model: str | None,
    as_json: bool,
) -> None:
    remote = Remote(url, model)
    asked = {"every_s": every, "since": since, "until": until, "line": line}
    query = {name: value for name, value in asked.items() if value is not None}
    found = remote.page("events", observed=observed, **query)
    stretches: list[dict[str, Any]] = found["stretches"]
    if worst is not None:
        stretches = sorted(stretches, key=lambda s: -(s["error_ratio"] or 0.0))[:worst]
    if as_json:
        print_json({**found, "stretches": stretches})
        return
    if not stretches:
        say(f"{remote.model}: no labelled event in that time")
        return
    table(
        f"{remote.model}: errors before learning, by {every:g} s and line",
        ("from", "local", "line", "events", "rows", "errors", "last label", "majority", ""),
        [_row(stretch) for stretch in stretches],
        folded="events",
        spare=("", "local"),
    )
    if found["left_out"]:
        say(f"{found['left_out']:,} older events or stretches were not looked at")
    if found["dropped_rows"]:
        say(f"{found['dropped_rows']:,} older rows are no longer counted")
    say("unlearn some of them: `apical snapshots rebase --without A..B --line LINE --dry-run`")


def _row(stretch: dict[str, Any]) -> tuple[str, ...]:
    """Of the table."""
    scored, ratio = stretch["scored"], stretch["error_ratio"]
    local = datetime.fromtimestamp(stretch["since"]).strftime("%m-%d %H:%M")
    last = stretch["last_label_errors"] / scored if scored else 0.0
    return (
        when(stretch["since"]),
        local,
        stretch["line"],
        _events(stretch),
        str(stretch["rows"]),
        "" if ratio is None else f"{ratio:.1%}",
        f"{last:.1%}" if scored else "",
        f"{stretch['majority_errors'] / scored:.1%}" if scored else "",
        "" if ratio is None else "█" * round(20 * ratio),
    )


def _events(stretch: dict[str, Any]) -> str:
    """As `rebase --without` takes them; with ``~`` where lessons of the line that were in other
    stretches are among them."""
    ranges = ", ".join(f"{first}..{last}" for first, last in stretch["ranges"])
    return ranges if stretch["exact"] else f"~{ranges}"
