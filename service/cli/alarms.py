"""`apical alarms`: what was noticed and nobody has acknowledged."""

from __future__ import annotations

from typing import Any

import click

from service.cli.options import options
from service.cli.remote import ACTOR, JSON, MODEL, REASON, URL, Remote, print_json, when
from service.cli.said import say


@click.group(
    name="alarms",
    invoke_without_command=True,
    help="Open alarms: what was noticed and nobody has acknowledged. What is noticed again is "
    "counted into the one that is open.",
)
@options(URL, MODEL, JSON)
@click.pass_context
def command(context: click.Context, url: str, model: str | None, as_json: bool) -> None:
    if context.invoked_subcommand is not None:
        return
    remote = Remote(url, model)
    found = remote.page("alarms")
    if as_json:
        print_json(found)
        return
    if not found["alarms"]:
        say(f"{remote.model}: no alarm is open")
        return
    say(f"{remote.model}: {len(found['alarms'])} open")
    for alarm in found["alarms"]:
        say(f"  {headed(alarm)}")
        say(f"      {alarm['reason']}")
    say('seen and dealt with: `apical alarms ack ID --reason "…"`')


def headed(alarm: dict[str, Any]) -> str:
    """Which alarm it is, since when, and how often: all of it but what was said."""
    of = f" of {alarm['of']!r}" if alarm["of"] or alarm["kind"] == "line" else ""
    often = "once"
    if alarm["times"] > 1:
        often = f"{alarm['times']:,} times, the last at {when(alarm['last_at'])}"
    events = f"events {alarm['id']}..{alarm['last_seq']}, worst {alarm['worst']:.3g}"
    return f"{alarm['id']}: {alarm['kind']}{of} since {when(alarm['first_at'])}, {often}; {events}"


@command.command(name="ack", help="Somebody has seen the alarms ID…: the next one is news again.")
@click.argument("numbers", metavar="[ID]...", type=int, nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that are open now.")
@options(URL, MODEL, REASON, ACTOR, JSON)
def ack_command(
    numbers: tuple[int, ...],
    every: bool,
    url: str,
    model: str | None,
    reason: str,
    actor: str,
    as_json: bool,
) -> None:
    if bool(numbers) == every:
        raise click.UsageError("expected either ids of alarms or --all")
    remote = Remote(url, model)
    # What is raised from now on was not seen.
    seen = [alarm["id"] for alarm in remote.page("alarms")["alarms"]] if every else [*numbers]
    if not seen:
        say(f"{remote.model}: no alarm is open")
        return
    done = remote.do("acknowledge", alarms=seen, reason=reason, actor=actor)
    if as_json:
        print_json(done)
    else:
        say(f"{remote.model}: {', '.join(map(str, seen))} acknowledged as event {done['seq']}")
