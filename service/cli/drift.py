"""`apical drift`: what is raised, and a new reference."""

from __future__ import annotations

import click

from service.cli.options import options
from service.cli.remote import (
    ACTOR,
    JSON,
    MODEL,
    REASON,
    URL,
    Remote,
    print_json,
    table,
)
from service.cli.said import say


@click.group(name="drift", help="What has drifted, and a new reference to measure it against.")
def command() -> None:
    pass


@command.command(name="show", help="What is watched and raised; a replica's --url works too.")
@options(URL, MODEL, JSON)
def show_command(url: str, model: str | None, as_json: bool) -> None:
    learner = Remote(url, model)
    found = learner.page("drift")
    if as_json:
        print_json(found)
    elif not found["watched"]:
        of = found.get("collecting_rows", 0)
        say(
            f"{learner.model}: {found.get('collected_rows', 0)} of {of} rows collected for "
            "a reference; nothing is watched until then"
        )
    else:
        table(
            f"{learner.model}: {len(found['raised'])} raised, against "
            f"{found['reference_rows']} reference rows",
            ("question", "kind", "feature", "statistic", "threshold", "window"),
            [
                (
                    r["question"],
                    r["kind"],
                    r["feature"] or "",
                    f"{r['statistic']:.4g}",
                    f"{r['threshold']:.4g}",
                    str(r["window"]),
                )
                for r in found["raised"]
            ],
        )


@command.command(name="renew", help="The rows that follow become the reference.")
@options(URL, MODEL, REASON, ACTOR)
def renew_command(url: str, model: str | None, reason: str, actor: str) -> None:
    learner = Remote(url, model)
    found = learner.do("drift/renew", reason=reason, actor=actor)
    say(f"{learner.model}: the next {found['collecting_rows']} rows become the reference")
