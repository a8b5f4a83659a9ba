"""What ops ask before and after they act: previews, differences, the trail, checks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.errors import LogError, LogPruned, StorageError
from model_store.log.log import EventLog
from model_store.snapshots import verification
from model_store.snapshots.store import SnapshotStore
from service.errors import Refused
from service.graph.step import FORMAT, step_graph
from service.history.lessons import Lesson
from service.history.verbs import TEACHING, Freeze, Order, Promote, Thaw
from service.learner import verbs
from service.learner.learner import Learner
from service.manifest import CHAMPION, STEP, manifest_of, sound
from service.publishing.taking import load_state
from service.rows import UNKNOWN
from service.state import arrays, scale


def preview(learner: Learner, order: Order) -> dict[str, Any]:
    """What a verb would do now; changes nothing.

    Raises
    ------
    Refused, UnknownSnapshot
        As the verb itself would.
    """
    live = learner.model(order.model)
    state = live.published
    champion = learner.store.alias(order.model, CHAMPION)
    before = champion.version if champion else None
    said: dict[str, Any] = {
        "model": order.model,
        "verb": order.kind,
        "dry_run": True,
        "seq": state.seq,
        "champion": before,
        "frozen": state.frozen,
    }
    verbs.check(order, state, live.alarms)
    verb = order.verb
    if isinstance(verb, Promote):
        return {
            **said,
            "champion_after": verb.version,
            "pinned": verb.pinned,
            "note": "lines that talk to the learner still get its live weights",
        }
    if verb.named is None:
        frozen = isinstance(verb, Freeze) or (state.frozen and not isinstance(verb, Thaw))
        return {**said, "frozen_after": frozen}
    learner.known_snapshot(order.model, verb.named)
    restored = manifest_of(learner.store, order.model, verb.named)
    between = lessons(learner.events, order.model, restored.seq, state.seq)
    return {**said, "restores": verb.named, "restores_seq": restored.seq, **between}


def lessons(events: EventLog, model: str, after: int, until: int) -> dict[str, Any]:
    """Labelled events and rows between two events, the second included."""
    count = rows = 0
    try:
        for record in events.events(model, after=after, until=until):
            if record.kind in TEACHING:
                count += 1
                rows += int((Lesson.from_bytes(record.payload).labels != UNKNOWN).sum())
    except LogPruned:
        return {"lessons_between": None, "labelled_rows_between": None}
    return {"lessons_between": count, "labelled_rows_between": rows}


def automatic_champion(learner: Learner, model: str) -> int:
    """Which version is champion once nobody holds one: the newest, if promotion is immediate."""
    learner.model(model)
    store = learner.store
    champion = store.alias(model, CHAMPION)
    if champion is None:
        raise Refused(f"{model}: there is no champion yet")
    if learner.models[model].spec.promotion != "immediate":
        return champion.version
    newest = next(sound(store, model), None)
    if newest is None:
        raise Refused(f"{model}: no snapshot can be read; `verify` names what is wrong with each")
    return newest.version


def audit(store: SnapshotStore, model: str) -> dict[str, Any]:
    """The whole trail, and whether its chain holds."""
    trail = store.audit(model)
    broken = [str(problem) for problem in trail.verify()]
    entries = [] if broken else [asdict(entry) for entry in trail.entries()]
    return {
        "model": model,
        "head": trail.head() if not broken else None,
        "entries": entries,
        "problems": broken,
    }


def live_at(store: SnapshotStore, model: str, moment: float) -> dict[str, Any]:
    """The champion of a time, and the deed that made it so."""
    entry = store.audit(model).at(moment)
    return {
        "model": model,
        "at": moment,
        "champion": entry.after if entry else None,
        "since": asdict(entry) if entry else None,
    }


def verify(store: SnapshotStore, model: str, events: EventLog | None = None) -> dict[str, Any]:
    """Every snapshot, alias and audit entry, and the chain of the log, byte by byte."""
    problems = [asdict(problem) for problem in verification.verify(store, model)]
    problems += _other_steps(store, model)
    checked = None
    if events is not None:
        try:
            checked = events.verify(model)
            problems += _other_logs(store, model, events)
        except LogError as error:
            problems.append({"path": "event log", "expected": "a whole chain", "found": str(error)})
    return {
        "model": model,
        "snapshots": len(store.versions(model)),
        "events": checked,
        "problems": problems,
    }


def _other_steps(store: SnapshotStore, model: str) -> list[dict[str, Any]]:
    """Snapshots whose step graph is not the one that their state's configuration gives. What
    another version of the builder made cannot be told."""
    found = []
    for manifest in sound(store, model):
        if manifest.document.get("step", {}).get("format") != FORMAT:
            continue
        try:
            kept = store.read(model, manifest.version, STEP)
            same = step_graph(load_state(store, model, manifest.version)) == kept
        # Damaged: that was found already.
        except (StorageError, ValueError):
            continue
        if not same:
            found.append(
                {
                    "path": f"snapshot {manifest.version}: {STEP}",
                    "expected": "the step of its state's configuration",
                    "found": "another graph",
                }
            )
    return found


def _other_logs(store: SnapshotStore, model: str, events: EventLog) -> list[dict[str, Any]]:
    """Snapshots that were taken of another log than this one."""
    heads = [(m, events.head_at(model, m.seq)) for m in sound(store, model) if m.log_head]
    return [
        {
            "path": f"snapshot {manifest.version}",
            "expected": f"a log whose chain has the head {manifest.log_head} at {manifest.seq}",
            "found": head,
        }
        for manifest, head in heads
        if head is not None and head != manifest.log_head
    ]


def diff(
    store: SnapshotStore, events: EventLog, model: str, version: int, other: int
) -> dict[str, Any]:
    """Score, weights per layer, feature statistics, and the lessons between two snapshots."""
    manifests = [manifest_of(store, model, v) for v in (version, other)]
    states = [load_state(store, model, v) for v in (version, other)]
    a, b = (arrays(state) for state in states)

    def length(array: NDArray[Any]) -> float:
        return float(np.linalg.norm(array))

    layers = {
        name: {
            "change": length(b[name] - a[name]),
            "relative": length(b[name] - a[name]) / max(length(a[name]), 1e-12),
            "largest": float(np.abs(b[name] - a[name]).max()),
        }
        for name in a
        if {"weight", "bias", "feedback", "mixture"} & set(name.split("."))
    }
    scales = [scale(s.moments, s.configuration.ranges, s.configuration.precision) for s in states]
    features = {
        sensor["name"]: {
            "mean": [float(s.mean[i]) for s in scales],
            "deviation": [float(s.deviation[i]) for s in scales],
            "readings": [int(s.moments.readings[i]) for s in states],
        }
        for i, sensor in enumerate(manifests[0].schema["features"])
        # The mean of a category's indices says nothing.
        if "values" not in sensor
    }
    seqs = sorted(m.seq for m in manifests)
    return {
        "model": model,
        "versions": [version, other],
        "seq": [m.seq for m in manifests],
        "updates": [m.updates for m in manifests],
        "score": [m.prequential["window"] for m in manifests],
        "layers": layers,
        "features": features,
        **lessons(events, model, seqs[0], seqs[1]),
    }
