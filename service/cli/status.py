"""`apical status`: one screen about a model, and what to do next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from service.cli.alarms import headed
from service.cli.options import options
from service.cli.remote import JSON, MODEL, URL, Remote, print_json, titled, when
from service.cli.said import say

AT_HAND = 200
"""Entries of the audit trail that are looked at."""


@click.command(name="status", help="What a model does now, how well, and what to do next.")
@click.option(
    "--every", type=click.FloatRange(min=0.2), help="Seconds: again and again, until stopped."
)
@options(URL, MODEL, JSON)
def command(every: float | None, url: str, model: str | None, as_json: bool) -> None:
    show(every, url, model, as_json)


def show(every: float | None, url: str, model: str | None, as_json: bool) -> None:
    """The screen once, or every so many seconds until the process is stopped."""
    remote = Remote(url, model)
    while True:
        found = _asked(remote)
        if every is not None:
            click.clear()
        if as_json:
            print_json(found)
        else:
            for line in told(found, url, time.time()):
                say(line)
        if every is None:
            return
        time.sleep(every)


def _asked(remote: Remote) -> dict[str, Any]:
    about = remote.ask(lambda client: client.model(remote.model)).raw
    found = {"model": about, "drift": remote.page("drift"), "champion": None, "deeds": []}
    found["alarms"] = []
    if about["role"] == "learner":
        found["alarms"] = remote.page("alarms")["alarms"]
        found["deeds"] = remote.page("audit")["entries"][-AT_HAND:]
    champion = about.get("champion") or about.get("snapshot")
    if champion:
        found["champion"] = remote.page(f"snapshots/{champion}")
    return found


def told(found: dict[str, Any], url: str, now: float) -> Iterator[str]:
    """The screen, line by line; ``now`` in unix seconds."""
    about = found["model"]
    yield f"{titled(about)}: {about['role']} at {url}, event {about['seq']:,}"
    if about["role"] == "learner":
        yield f"  learning    {_learning(found, now)}"
    yield f"  champion    {_champion(found, now)}"
    if about.get("candidate"):
        yield f"  candidate   snapshot {about['candidate']} is on probation"
    then = "" if about["role"] == "learner" else "when that was taken: "
    yield f"  score       {then}{_score(about.get('prequential'))}"
    yield f"  drift       {_drift(found['drift'])}"
    for alarm in found["alarms"]:
        yield f"  alarm       {headed(alarm)}: {alarm['reason']}"
    for sensor, silent in (about.get("silent") or {}).items():
        outside = "none of its values" if sensor in _categories(about) else "out of its range"
        how = outside if silent["kind"] == "out_of_range" else "missing"
        yield f"  sensor      {sensor} is {how} in all of the last {silent['rows']:,} rows"
    for step in next_steps(found):
        yield f"  next        {step}"


def _categories(about: dict[str, Any]) -> list[str]:
    return [feature["name"] for feature in about["features"] if feature.get("values")]


def _learning(found: dict[str, Any], now: float) -> str:
    about = found["model"]
    if about.get("blocked"):
        return f"verbs are blocked: {about['blocked']}"
    held = about.get("quarantined") or []
    lines = f"; in quarantine: {', '.join(held)}" if held else ""
    if not about["frozen"]:
        return f"yes{lines}"
    deed = next((d for d in reversed(found["deeds"]) if d["verb"] == "freeze"), None)
    if deed is None:
        return f"no, it is frozen{lines}"
    since = f"{when(deed['at'])}, {ago(now - deed['at'])}"
    return f"no, frozen since {since} by {deed['actor']}: {deed['reason']}{lines}"


def _champion(found: dict[str, Any], now: float) -> str:
    about, manifest = found["model"], found["champion"]
    if manifest is None:
        return "none yet"
    held = ", held by hand" if about.get("pinned") else ""
    behind = about["seq"] - manifest["seq"]
    said = (
        f"snapshot {manifest['version']} of {when(manifest['created_at'])}, "
        f"{ago(now - manifest['created_at'])}, {behind:,} events behind{held}"
    )
    return f"{said}; it has learned nothing yet" if about.get("status") == "untrained" else said


def _score(score: dict[str, Any] | None) -> str:
    if score is None:
        return "not told"
    window = score["window"]
    if not window["rows"]:
        return "no label has come yet"
    said = f"{window['accuracy']:.1%} of the last {window['rows']:,} labelled rows right"
    if window["last_label_accuracy"] is not None:
        said += (
            f"; saying the last label again {window['last_label_accuracy']:.1%}, "
            f"the most frequent one {window['majority_accuracy']:.1%}"
        )
    return said


def _drift(drift: dict[str, Any]) -> str:
    if drift.get("trouble"):
        return str(drift["trouble"])
    if drift["raised"]:
        raised = [f"{r['question']} {r['feature'] or r['kind']}" for r in drift["raised"]]
        return f"raised: {', '.join(dict.fromkeys(raised))}"
    if drift["watched"]:
        return f"none, against {drift['reference_rows']:,} rows"
    if drift.get("collecting_rows"):
        rows = f"{drift['collected_rows']:,} of {drift['collecting_rows']:,} rows"
        return f"collecting a reference: {rows}"
    return "not watched"


def next_steps(found: dict[str, Any]) -> Iterator[str]:
    """What somebody should do, the most urgent first."""
    about, drift = found["model"], found["drift"]
    if about.get("blocked"):
        yield "make the store reachable, then restart the learner"
    if about.get("frozen"):
        yield "look at the labels since then (`apical snapshots audit`)"
        yield (
            "were they wrong: `apical snapshots rebase --help`; were they right: "
            '`apical snapshots thaw --reason "…"`'
        )
    if about.get("quarantined"):
        yield '`apical snapshots release LINE --reason "…"` once its labels are right'
    if alarms := found.get("alarms"):
        numbers = " ".join(str(alarm["id"]) for alarm in alarms)
        yield f'once that is dealt with: `apical alarms ack {numbers} --reason "…"`'
    if about.get("status") == "untrained" and about["role"] == "learner":
        yield "send labelled rows: nothing that has learned is champion yet"
    if about.get("silent"):
        listed = {*about["silent"]} <= {*_categories(about)}
        what = "values" if listed else "unit and range"
        yield f"look at the sensor itself, and at its {what} in apical.toml"
    if about.get("warning"):
        yield f"mind: {about['warning']}"
    if drift["raised"]:
        yield '`apical drift show`; is it how the line is now: `apical drift renew --reason "…"`'


def ago(seconds: float) -> str:
    """How long ago, for people."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} seconds ago"
