"""Log, store and answers of `benchmarks.rollback`, held against each other.

A rebase is judged by a second reading of its definition, in `without`: a plain fold over the log
that knows nothing of plans and base snapshots.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.rollback_traffic import MODEL, QUESTIONS, Heard, question_rows
from model_store.log.log import EventLog, Record
from model_store.snapshots.store import SnapshotStore
from service.graph.session import Session
from service.history.lessons import event_of
from service.history.verbs import TEACHING, Order
from service.kernels.by_state import KernelByState
from service.state import Replace, State, same
from service.state.file import from_bytes

KERNEL = KernelByState()


@dataclass
class Figures:
    """What a round found. The three after ``rollbacks`` must be 0."""

    rollbacks: int = 0
    failed_requests: int = 0
    mixed_versions: int = 0
    state_mismatches: int = 0
    polls_to_all_replicas_p50: float = math.nan
    polls_to_all_replicas_p99: float = math.nan
    seconds_to_all_replicas_p50: float = math.nan
    seconds_to_all_replicas_max: float = math.nan
    rollback_seconds_p50: float = math.nan
    rollback_seconds_max: float = math.nan
    rebase_seconds: float = math.nan
    rebase_excluded_lessons: int = 0
    rebase_kept_rollbacks: int = 0
    events: int = 0
    snapshots: int = 0
    predictions: int = 0
    versions_seen: int = 0
    found: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (self.failed_requests or self.mixed_versions or self.state_mismatches)

    def blame(self, key: str, what: str, times: int = 1) -> None:
        """Count findings and keep what they were."""
        setattr(self, key, getattr(self, key) + times)
        self.found.append(f"{key}: {what}")


def compare(folder: Path, figures: Figures, heard: Heard) -> None:
    """Log, store and answers against each other."""
    torch.set_num_threads(1)  # as the learner: replay is bitwise under the same count
    store = SnapshotStore.open(folder / "store")
    with EventLog.open(folder / "log") as log:
        events = list(log.events(MODEL))
    states = {
        v: from_bytes(store.read(MODEL, v, "state.safetensors")) for v in store.versions(MODEL)
    }
    manifests = {v: store.manifest(MODEL, v) for v in states}
    figures.events, figures.snapshots = len(events), len(states)
    figures.predictions = heard.predictions

    folded = fold(events, states)
    for version, state in states.items():
        cause = manifests[version]["cause"]
        if cause != "staged" and not same(state, folded[state.seq]):
            figures.blame("state_mismatches", f"snapshot {version} at event {state.seq}")
        if cause == "rollback":
            target = states[manifests[version]["parent"]]
            if not same(target._replace(seq=state.seq, frozen=state.frozen), state):
                figures.blame("state_mismatches", f"snapshot {version} is not what it restores")
    published = [m["event"] for m in manifests.values() if m["cause"] == "rollback"]
    for event in events:
        if event.kind == "rollback" and event.seq not in published:
            figures.blame("state_mismatches", f"rollback {event.seq} published nothing")
        if event.kind == "rebase":
            _compare_rebase(figures, events, states, manifests, folded, event)
    _compare_answers(figures, heard, store, folded)
    store.close()


def fold(events: list[Record], states: dict[int, State]) -> list[State]:
    """The state after each event, the newborn's first."""
    folded = [states[1]]
    for event in events:
        named = states[event.snapshot or 0] if event.kind in ("rollback", "rebase") else None
        folded.append(KERNEL.apply(folded[-1], event_of(event, named))[0])
    return folded


def without(
    events: list[Record],
    born: State,
    excluded: Callable[[Record], bool],
    seq_of: dict[int, int],
) -> State:
    """A learner given the same events but for the excluded lessons and their consequences.

    Those are: late labels for a batch that is left out, automatic freezes, and whatever a detector
    did because of events that are left out. A rollback goes to this learner's own state at the
    ``seq`` of the snapshot that it names.
    """
    states, gone, batches = [born], set[int](), set[str]()
    for event in events:
        if event.kind in TEACHING:
            out = excluded(event) or (event.kind == "late" and event.batch_id in batches)
            if out and event.kind == "batch" and event.batch_id is not None:
                batches.add(event.batch_id)
        else:
            order = Order.from_record(event)
            first, last = order.cause or (0, -1)
            out = order.automatic and (
                event.kind == "freeze" or any(first <= seq <= last for seq in gone)
            )
        if out:
            gone.add(event.seq)
            states.append(states[-1]._replace(seq=event.seq))
            continue
        named = states[seq_of[event.snapshot or 0]] if event.kind == "rollback" else None
        states.append(KERNEL.apply(states[-1], event_of(event, named))[0])
    return states[-1]


def _compare_rebase(
    figures: Figures,
    events: list[Record],
    states: dict[int, State],
    manifests: dict[int, dict[str, Any]],
    folded: list[State],
    rebase: Record,
) -> None:
    values = Order.from_record(rebase).values()
    ranges = values["selection"]["without"]
    before = events[: rebase.seq - 1]
    seq_of = {version: manifest["seq"] for version, manifest in manifests.items()}
    figures.rebase_kept_rollbacks = sum(
        event.kind == "rollback" and event.seq > ranges[0][0] for event in before
    )
    expected = without(before, states[1], lambda e: any(a <= e.seq <= b for a, b in ranges), seq_of)
    swapped, _ = KERNEL.apply(expected, Replace(expected))
    made = [v for v, m in manifests.items() if m["cause"] == "rebase" and m["event"] == rebase.seq]
    if not made:
        figures.blame("state_mismatches", f"rebase {rebase.seq} published nothing")
    for version in made:
        if not same(states[version], swapped):
            figures.blame("state_mismatches", f"snapshot {version} of rebase {rebase.seq}")
    if same(expected, folded[rebase.seq - 1]):
        figures.blame("state_mismatches", "the rebase changed nothing, and so shows nothing")


def _compare_answers(
    figures: Figures, heard: Heard, store: SnapshotStore, folded: list[State]
) -> None:
    """Each different answer against its version's graph, or against the state at its event."""
    rows = [question_rows(index) for index in range(QUESTIONS)]
    by_version: dict[int, list[bytes]] = {}
    by_seq: dict[int, list[bytes]] = {}
    for said, times in heard.said.items():
        if said.role == "replica":
            if said.version not in by_version:
                session = Session(store.read(MODEL, said.version, "model.onnx"))
                by_version[said.version] = [session.probabilities(r).tobytes() for r in rows]
            expected = by_version[said.version]
        elif not 0 <= said.seq < len(folded):
            figures.blame("mixed_versions", f"{said.role} names event {said.seq}", times)
            continue
        else:
            if said.seq not in by_seq:
                state = folded[said.seq]
                by_seq[said.seq] = [KERNEL.forward(state, r).tobytes() for r in rows]
            expected = by_seq[said.seq]
        if said.probabilities != expected[said.question]:
            where = f"version {said.version}, event {said.seq}"
            figures.blame("mixed_versions", f"{said.role}, {where}", times)
    if heard.nameless:
        figures.blame("mixed_versions", "lessons acknowledged without an event", heard.nameless)
    figures.versions_seen = len(by_version)
