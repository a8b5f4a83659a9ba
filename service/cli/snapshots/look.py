"""Verbs that only look: list, show, diff, audit, verify."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import click

from clients import Client
from service.cli.moments import MOMENT
from service.cli.options import options
from service.cli.remote import (
    JSON,
    MODEL,
    URL,
    Remote,
    number,
    print_json,
    table,
    titled,
    when,
)
from service.cli.said import Failure, say

COLUMNS = ("version", "event", "parent", "taken at", "cause", "accuracy", "log-loss")

MOST_NAMED = 5
"""Lines that are named as having taught a snapshot."""

PAST = {"promote": "promoted", "reject": "rejected", "rollback": "rolled back", "rebase": "rebased"}
"""What was done to a snapshot."""


@click.command(name="list", help="All finished snapshots, oldest first.")
@options(URL, MODEL, JSON)
def list_command(url: str, model: str | None, as_json: bool) -> None:
    learner = Remote(url, model)
    found = [s.raw for s in learner.ask(lambda c: c.snapshots(learner.model))]
    if as_json:
        print_json(found)
        return
    live = learner.ask(lambda c: c.model(learner.model)).raw
    if live["role"] == "replica":
        raise Failure(
            f"a replica holds only snapshots {[s['version'] for s in found]} of {learner.model}; "
            "ask the learner (--url, or APICAL_URL)"
        )
    table(
        f"{titled(live)}: live at event {live['seq']}{', frozen' if live['frozen'] else ''}",
        (*COLUMNS, "what"),
        [
            (
                str(s["version"]),
                str(s["seq"]),
                str(s["parent"] or ""),
                "" if s["created_at"] is None else when(s["created_at"]),
                s["cause"],
                number(s["accuracy"]),
                number(s["log_loss"]),
                told(s),
            )
            for s in found
        ],
        folded="what",
        spare=("log-loss", "parent", "accuracy"),
    )
    if any(s["deeds"] is None for s in found):
        say("who taught, and what was done, is not known yet; ask again in a moment")


def told(outline: dict[str, Any]) -> str:
    """What somebody should know of a snapshot before they go back to it."""
    said = [outline["standing"]] if outline["standing"] else []
    if outline["untrained"]:
        said.append("untrained")
    said += [word for word in ("keep", "frozen") if outline.get(word)]
    deeds = outline["deeds"] or []
    said += [
        f"{PAST.get(d['verb'], d['verb'])} by {d['actor']} {when(d['at'])}: {d['reason']}"
        for d in deeds
        if d["about"]
    ]
    before = Counter(f"{d['verb']} by {d['actor']}" for d in deeds if not d["about"])
    if before:
        said.append("after " + ", ".join(_times(*pair) for pair in before.items()))
    taught = [one for one in (outline["taught"] or {"lines": []})["lines"] if one["rows"]]
    if taught:
        by = [f"{one['line'] or 'no line'} ({one['rows']} rows)" for one in taught[:MOST_NAMED]]
        more = len(taught) - MOST_NAMED
        said.append(f"taught by {', '.join(by)}{f' and {more} more lines' if more > 0 else ''}")
    return "; ".join(said)


def _times(deed: str, count: int) -> str:
    return deed if count == 1 else f"{deed} ({count} times)"


@click.command(name="show", help="One snapshot's manifest, or with --at what was live then.")
@click.argument("version", type=int, required=False)
@click.option("--at", type=MOMENT, help="Such as 03:12, '2h ago', or 2026-03-01T03:00:00Z.")
@options(URL, MODEL, JSON)
def show_command(
    version: int | None, at: str | None, url: str, model: str | None, as_json: bool
) -> None:
    if (version is None) == (at is None):
        raise click.UsageError(
            f"expected either a version or --at, found {'neither' if at is None else 'both'}"
        )
    learner = Remote(url, model)
    if version is not None:
        print_json(learner.ask(partial(Client.manifest, model=learner.model, version=version)))
        return
    found = learner.page("live", at=at)
    if as_json:
        print_json(found)
    elif found["champion"] is None:
        say(f"{learner.model}: nothing was champion at {at}")
    else:
        deed = found["since"]
        say(
            f"{learner.model}: snapshot {found['champion']} was champion at {at}, since "
            f"{when(deed['at'])}: {deed['verb']} by {deed['actor']}, {deed['reason']}"
        )


@click.command(name="diff", help="How two snapshots differ: score, weights, features, lessons.")
@click.argument("version", type=int)
@click.argument("other", type=int)
@options(URL, MODEL, JSON)
def diff_command(version: int, other: int, url: str, model: str | None, as_json: bool) -> None:
    learner = Remote(url, model)
    found = learner.page(f"snapshots/{version}/diff/{other}")
    if as_json:
        print_json(found)
        return
    a, b = found["score"]
    names = ("accuracy", "macro_f1", "log_loss")
    heads = (f"snapshot {version}", f"snapshot {other}")
    table(
        f"{learner.model}: {found['lessons_between']} lessons, "
        f"{found['labelled_rows_between']} labelled rows between",
        ("", *heads),
        [
            ("event", *map(str, found["seq"])),
            ("updates", *map(str, found["updates"])),
            *((name, number(a[name]), number(b[name])) for name in names),
        ],
    )
    table(
        "change per layer",
        ("", "norm", "relative", "largest"),
        [
            (name, f"{v['change']:.4g}", f"{v['relative']:.4g}", f"{v['largest']:.4g}")
            for name, v in found["layers"].items()
        ],
    )
    table(
        "features",
        ("", "mean", "mean after", "deviation", "deviation after"),
        [
            (name, *(f"{x:.5g}" for x in (*v["mean"], *v["deviation"])))
            for name, v in found["features"].items()
        ],
    )


@click.command(name="audit", help="Who did what, when and why.")
@click.option("--verify", is_flag=True, help="Check the chain; exit 1 if it is broken.")
@options(URL, MODEL, JSON)
def audit_command(verify: bool, url: str, model: str | None, as_json: bool) -> None:
    learner = Remote(url, model)
    found = learner.page("audit")
    if as_json:
        print_json(found)
    elif not found["problems"]:
        entries = found["entries"]
        table(
            f"{learner.model}: {len(entries)} entries, head {found['head'][:16]}…",
            ("", "at", "who", "verb", "champion", "event", "why"),
            [
                (
                    str(e["n"]),
                    when(e["at"]),
                    e["actor"],
                    e["verb"],
                    _move(e),
                    str(e["seq"]),
                    e["reason"],
                )
                for e in entries
            ],
            folded="why",
        )
    for problem in found["problems"]:
        say(problem, err=True)
    if found["problems"]:
        raise click.exceptions.Exit(1)
    if verify:
        say(f"the chain of {len(found['entries'])} entries holds", err=as_json)


def _move(entry: dict[str, Any]) -> str:
    before, after = entry["before"], entry["after"]
    if after is None:
        return "" if before is None else str(before)
    return f"{before or '–'} → {after}"


@click.command(name="verify", help="Check every stored byte; exit 1 if anything is wrong.")
@click.option("--store", help="Check this store directly instead of asking the learner.")
@options(URL, MODEL, JSON)
def verify_command(store: str | None, url: str, model: str | None, as_json: bool) -> None:
    found = _offline(store, model) if store else [Remote(url, model).page("verify")]
    if as_json:
        print_json(found)
    for one in found:
        if not as_json:
            events = "" if one["events"] is None else f" and {one['events']} events"
            say(
                f"{one['model']}: {one['snapshots']} snapshots{events} checked, "
                f"{len(one['problems'])} problems"
            )
            for p in one["problems"]:
                say(f"  {p['path']}: expected {p['expected']}, found {p['found']}")
    if any(one["problems"] for one in found):
        raise click.exceptions.Exit(1)


def _offline(location: str, model: str | None) -> list[dict[str, Any]]:
    from model_store.errors import StorageError
    from model_store.snapshots.store import SnapshotStore
    from model_store.snapshots.verification import verify

    try:
        store = SnapshotStore.open(location)
        names = [model] if model else store.models()
        if not set(names) & set(store.models()):
            raise Failure(
                f"{location}: expected a store{f' with a model {model!r}' if model else ''}, "
                f"found the models {store.models()}"
            )
        return [
            {
                "model": name,
                "snapshots": len(store.versions(name)),
                "events": None,
                "problems": [
                    {"path": p.path, "expected": p.expected, "found": p.found}
                    for p in verify(store, name)
                ],
            }
            for name in names
        ]
    except StorageError as error:
        raise Failure(str(error)) from error


VERBS = (list_command, show_command, diff_command, audit_command, verify_command)
