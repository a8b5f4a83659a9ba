"""`apical snapshots rebase`: start it, watch it, cancel it."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from service.cli.moments import MOMENT
from service.cli.options import options
from service.cli.remote import (
    ACTOR,
    DRY_RUN,
    JSON,
    MODEL,
    URL,
    YES,
    Remote,
    print_json,
    report,
)
from service.cli.said import Failure, say

POLL_S = 0.2


def _ranges(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> list[list[int]]:
    found = []
    for value in values:
        first, _, last = value.partition("..")
        if not (first.isdigit() and (last or first).isdigit()):
            raise click.BadParameter(f"expected A..B, two event numbers, found {value!r}")
        found.append([int(first), int(last or first)])
    return found


@click.command(name="rebase", help="Unlearn lessons: replay the log without them.")
@click.option(
    "--without", multiple=True, callback=_ranges, metavar="A..B", help="Events A to B; repeatable."
)
@click.option(
    "--since", type=MOMENT, help="Received at or after; such as 03:12, '2h ago', or RFC 3339."
)
@click.option("--until", type=MOMENT, help="Received before.")
@click.option("--observed", is_flag=True, help="--since and --until mean observation time.")
@click.option("--batch-id", "batch_ids", multiple=True, help="Only this batch; repeatable.")
@click.option("--line", "lines", multiple=True, help="Only this line; repeatable.")
@click.option(
    "--learn-frozen",
    is_flag=True,
    help="Learn labels that arrived while an operator had frozen the model.",
)
@click.option(
    "--learn-line",
    "learn_lines",
    multiple=True,
    metavar="LINE",
    help="Learn the labels of this line that were set aside in quarantine; repeatable.",
)
@click.option("--cancel", is_flag=True, help="Give the running rebase up.")
@click.option("--status", is_flag=True, help="How the latest one goes.")
@click.option("--no-wait", is_flag=True, help="Return once it has begun.")
@click.option("--reason", help="Why; goes into the audit trail.")
@options(URL, MODEL, ACTOR, YES, DRY_RUN, JSON)
def rebase_command(
    without: list[list[int]],
    since: str | None,
    until: str | None,
    observed: bool,
    batch_ids: tuple[str, ...],
    lines: tuple[str, ...],
    learn_frozen: bool,
    learn_lines: tuple[str, ...],
    cancel: bool,
    status: bool,
    no_wait: bool,
    reason: str | None,
    url: str,
    model: str | None,
    actor: str,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    learner = Remote(url, model)
    if status:
        print_json(learner.page("rebase"))
        return
    if cancel:
        print_json(learner.do("rebase/cancel", reason=reason, actor=actor))
        return
    if reason is None and not dry_run:
        raise click.UsageError("Missing option '--reason'")
    values = {
        "reason": reason,
        "actor": actor,
        "without": without or None,
        "since": since,
        "until": until,
        "observed": observed or None,
        "batch_ids": list(batch_ids) or None,
        "lines": list(lines) or None,
        "learn_frozen": learn_frozen or None,
        "learn_lines": list(learn_lines) or None,
    }
    learner.sure("rebase", yes or dry_run, **values)
    begun = learner.do("rebase", dry_run=dry_run, **values)
    if dry_run or no_wait:
        report(begun, as_json, f"{learner.model}: rebase begun as event {begun.get('begin')}")
        return
    done = _watch(learner)
    if as_json:
        print_json(done)
    if done["state"] != "done":
        raise Failure(f"rebase {done['state']}: {done['error'] or 'given up'}")
    if not as_json:
        result = done["result"]
        say(
            f"{learner.model}: {done['excluded_lessons']} lessons ({done['excluded_rows']} rows) "
            f"unlearned; live since event {result['seq']}, published as snapshot "
            f"{result['published']}, which is champion"
        )
        say(
            f"learned again: {done['learned_rows']} rows; only predicted: {done['held_rows']} "
            f"whose labels were held (frozen, or in quarantine) and {done['unlabelled_rows']} "
            "without a label"
        )
        if learner.ask(lambda client: client.model(learner.model)).raw["frozen"]:
            say("it is still frozen; a rebase does not thaw: `apical snapshots thaw --reason …`")


def _watch(learner: Remote) -> dict[str, Any]:
    with Progress(
        TextColumn("replaying"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f} events/s"),
        console=Console(stderr=True),
    ) as progress:
        task = progress.add_task("", total=None, rate=0.0)
        while True:
            now = learner.page("rebase")
            progress.update(
                task,
                completed=now["replayed"],
                rate=now["events_per_s"],
                total=now["replayed"] + now["remaining"],
            )
            if now["state"] != "running":
                return now
            time.sleep(POLL_S)


VERBS = (rebase_command,)
