"""`apical replay`: rebuild any past state from snapshot and log, and compare it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

from model_store.backup import copy_log
from model_store.log.log import EventLog, Record
from model_store.snapshots.store import SnapshotStore
from service.cli.local import CONFIG, configured, spoken_errors
from service.cli.progress import ReplayProgress
from service.cli.said import Failure, say
from service.errors import ConfigurationError
from service.history.replay import replay
from service.kernels.by_state import KernelByState
from service.manifest import manifest_of, sound
from service.publishing.taking import load_state
from service.state import Reply, State, arrays, same
from service.state.file import to_bytes

TOLERANCE = 1e-4
"""Relative to each tensor's size, for replays under other software than the learner's."""


@click.command(help="Rebuild a past state into a scratch model; nothing live is touched.")
@click.option("--model", help="Which model; may be left out where there is one.")
@click.option("--until", type=click.IntRange(min=0), help="Up to this event; default: the last.")
@click.option(
    "--from",
    "start",
    type=int,
    help="Start from this snapshot; default: the newest "
    "before the one compared with, or before --until.",
)
@click.option("--compare", type=int, help="Compare with this snapshot, at its event.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the state here (safetensors).")
@CONFIG
def command(
    model: str | None,
    until: int | None,
    start: int | None,
    compare: int | None,
    out: Path | None,
    path: Path,
) -> None:
    configuration = configured(path)
    names = [spec.name for spec in configuration.models]
    if model is None and len(names) > 1:
        raise click.UsageError(f"expected --model with one of {names}, found none")
    name = model or names[0]
    storage = configuration.storage
    with spoken_errors(), tempfile.TemporaryDirectory(prefix="apical-replay-") as folder:
        store = SnapshotStore.open(storage.store)
        copy_log(Path(storage.log), Path(folder))
        with EventLog.open(Path(folder)) as events:
            _replay(store, events, name, until, start, compare, out)


def _replay(
    store: SnapshotStore,
    events: EventLog,
    name: str,
    until: int | None,
    start: int | None,
    compare: int | None,
    out: Path | None,
) -> None:
    versions = store.versions(name)
    for asked in (start, compare):
        if asked is not None and asked not in versions:
            raise ConfigurationError(f"{name}: expected a snapshot among {versions}, found {asked}")
    if compare is not None:
        until = manifest_of(store, name, compare).seq
    end = events.last_seq(name) if until is None else until
    if start is None:
        usable = [
            m
            for m in sound(store, name)
            if m.version != compare and (m.seq < end or (m.seq == end and compare is None))
        ]
        if not usable:
            raise ConfigurationError(f"{name}: no snapshot to start from before event {end}")
        # Of two at one event, the older.
        start = max(usable, key=lambda m: (m.seq, -m.version)).version
    state = load_state(store, name, start)
    say(f"{name}: from snapshot {start} at event {state.seq} to event {end}")
    # Threads are part of what makes a replay bitwise, and ours to choose.
    then = manifest_of(store, name, start).software
    kernel = KernelByState(threads=int(then.get("threads", 1)))
    identical = _announce(then, kernel.software())
    total = events.count(name, after=state.seq, until=end)
    with ReplayProgress() as progress:
        done = 0

        def observe(record: Record, after: State, reply: Reply | None) -> None:
            nonlocal done
            done += 1
            progress(name, done, total)

        state = replay(
            kernel,
            state,
            events.events(name, after=state.seq, until=end),
            lambda m, v: load_state(store, m, v),
            observe,
            gaps=events.gaps(name),
        )
    if out is not None:
        if out.exists():
            raise Failure(f"{out}: expected no such file, found one")
        out.write_bytes(to_bytes(state))
        say(f"state at event {state.seq} written to {out}")
    if compare is not None:
        _compare(state, load_state(store, name, compare), compare, identical)
    elif out is None:
        say(f"state at event {state.seq}: {state.steps} updates")


def _announce(then: dict[str, Any], now: dict[str, Any]) -> bool:
    """Say so where the software is another than the learner's: then no replay is bitwise."""
    other = {k: (then.get(k), now[k]) for k in now if k != "python" and then.get(k) != now[k]}
    for key, (before, here) in other.items():
        say(
            f"other {key} than the learner's: {before} then, {here} now; the replay is "
            f"checked within {TOLERANCE:g}, not bitwise"
        )
    return not other


def _compare(state: State, stored: State, version: int, identical: bool) -> None:
    if same(state, stored):
        say(f"bitwise the state of snapshot {version}")
        return
    mine, theirs = arrays(state), arrays(stored)
    worst = max(
        float(np.abs(mine[k] - theirs[k]).max() / max(np.abs(theirs[k]).max(), 1e-12))
        for k in mine
        if mine[k].size
    )
    if not identical and worst <= TOLERANCE:
        say(f"the state of snapshot {version} within {worst:.3g}")
        return
    raise Failure(
        f"not the state of snapshot {version}: the largest relative difference is {worst:.3g}"
    )
