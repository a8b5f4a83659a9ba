"""Verbs that change what is live, what is kept, or whether it learns."""

from __future__ import annotations

import click

from service.cli.options import options
from service.cli.remote import (
    ACTOR,
    DRY_RUN,
    JSON,
    MODEL,
    REASON,
    URL,
    YES,
    Remote,
    report,
)
from service.cli.said import say


@click.command(name="take", help="Snapshot the live network now.")
@options(URL, MODEL, ACTOR)
@click.option("--reason", default=None, help="Why; goes into the manifest.")
def take_command(url: str, model: str | None, actor: str, reason: str | None) -> None:
    learner = Remote(url, model)
    taken = learner.ask(lambda c: c.snapshot(learner.model, reason=reason, actor=actor))
    say(f"{learner.model}: snapshot {taken.version} at event {taken.seq}")


@click.command(name="rollback", help="The learner's whole state becomes that of VERSION.")
@click.argument("version", type=int)
@options(URL, MODEL, REASON, ACTOR, YES, DRY_RUN, JSON)
def rollback_command(
    version: int,
    url: str,
    model: str | None,
    reason: str,
    actor: str,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    learner = Remote(url, model)
    learner.sure("rollback", yes or dry_run, version=version, reason=reason, actor=actor)
    done = learner.do("rollback", version=version, reason=reason, actor=actor, dry_run=dry_run)
    report(
        done,
        as_json,
        ""
        if dry_run
        else f"{learner.model}: the state of snapshot {version} is live again as event "
        f"{done['seq']}, published as snapshot {done['published']}, which is champion",
    )


@click.command(name="promote", help="Hold VERSION as champion for the replicas, or --auto.")
@click.argument("version", type=int, required=False)
@click.option("--auto", is_flag=True, help="Let go: promotion goes on by its policy.")
@options(URL, MODEL, REASON, ACTOR, YES, DRY_RUN, JSON)
def promote_command(
    version: int | None,
    auto: bool,
    url: str,
    model: str | None,
    reason: str,
    actor: str,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    if (version is None) != auto:
        raise click.UsageError("expected either a version or --auto")
    learner = Remote(url, model)
    values = {"version": version, "auto": auto or None, "reason": reason, "actor": actor}
    learner.sure("promote", yes or dry_run, **values)
    done = learner.do("promote", dry_run=dry_run, **values)
    held = "and held there; lines that talk to the learner still get its live weights"
    report(
        done,
        as_json,
        ""
        if dry_run
        else f"{learner.model}: snapshot {done['champion']} is champion"
        f"{', ' + held if done['pinned'] else ', and promotion goes on by its policy'}",
    )


@click.command(name="freeze", help="Score labels from now on, but do not learn them.")
@options(URL, MODEL, REASON, ACTOR, DRY_RUN, JSON)
def freeze_command(
    url: str, model: str | None, reason: str, actor: str, dry_run: bool, as_json: bool
) -> None:
    learner = Remote(url, model)
    done = learner.do("freeze", reason=reason, actor=actor, dry_run=dry_run)
    report(done, as_json, f"{learner.model}: frozen from event {done['seq']} on")


@click.command(name="thaw", help="Learn again.")
@options(URL, MODEL, REASON, ACTOR, DRY_RUN, JSON)
def thaw_command(
    url: str, model: str | None, reason: str, actor: str, dry_run: bool, as_json: bool
) -> None:
    learner = Remote(url, model)
    done = learner.do("thaw", reason=reason, actor=actor, dry_run=dry_run)
    report(done, as_json, f"{learner.model}: learns again from event {done['seq']} on")


@click.command(name="quarantine", help="Keep the labels of LINE from now on, do not learn them.")
@click.argument("line")
@options(URL, MODEL, REASON, ACTOR, DRY_RUN, JSON)
def quarantine_command(
    line: str, url: str, model: str | None, reason: str, actor: str, dry_run: bool, as_json: bool
) -> None:
    learner = Remote(url, model)
    done = learner.do("quarantine", line=line, reason=reason, actor=actor, dry_run=dry_run)
    report(done, as_json, f"{learner.model}: from event {done['seq']} on {line!r} teaches nothing")


@click.command(name="release", help="Learn the labels of LINE again.")
@click.argument("line")
@click.option(
    "--learn/--discard",
    default=False,
    help="Learn what was set aside too, by a rebase; or leave it as it is, the default.",
)
@options(URL, MODEL, REASON, ACTOR, DRY_RUN, JSON)
def release_command(
    line: str,
    learn: bool,
    url: str,
    model: str | None,
    reason: str,
    actor: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    learner = Remote(url, model)
    who = {"reason": reason, "actor": actor, "dry_run": dry_run}
    done = learner.do("release", line=line, **who)
    if learn:
        done["rebase"] = learner.do("rebase", learn_lines=[line], **who)
    report(
        done, as_json, f"{learner.model}: line {line!r} teaches again from event {done['seq']} on"
    )


@click.command(name="keep", help="Spare VERSION from retention; with --no, no longer.")
@click.argument("version", type=int)
@click.option("--no", "unkeep", is_flag=True, help="Clear the mark.")
@options(URL, MODEL, REASON, ACTOR)
def keep_command(
    version: int, unkeep: bool, url: str, model: str | None, reason: str, actor: str
) -> None:
    learner = Remote(url, model)
    learner.do(f"snapshots/{version}/keep", keep=not unkeep, reason=reason, actor=actor)
    say(f"{learner.model}: snapshot {version} is {'not ' if unkeep else ''}kept")


@click.command(name="prune", help="Delete the snapshots that nothing holds.")
@click.option(
    "--events",
    is_flag=True,
    help="The log's events too that are older than the oldest "
    "kept snapshot and the idempotency horizon; they can no longer be unlearned.",
)
@options(URL, MODEL, YES, DRY_RUN, JSON)
def prune_command(
    events: bool, url: str, model: str | None, yes: bool, dry_run: bool, as_json: bool
) -> None:
    learner = Remote(url, model)
    learner.sure("prune", yes or dry_run, events=events or None)
    done = learner.do("prune", dry_run=dry_run, events=events or None)
    dropped = f", {done.get('events', 0)} events dropped" if events else ""
    report(done, as_json, f"{learner.model}: {len(done['versions'])} snapshots deleted{dropped}")


VERBS = (
    take_command,
    rollback_command,
    promote_command,
    freeze_command,
    thaw_command,
    quarantine_command,
    release_command,
    keep_command,
    prune_command,
)
