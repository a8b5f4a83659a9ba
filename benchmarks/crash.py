"""Is anything acknowledged ever lost? A learner killed over and over, under concurrent lines.

    python -m benchmarks.crash --rounds 20 --json out.json

Each round starts a real server on the files that the rounds before have left, drives it with
concurrent lines (`benchmarks.crash_traffic`), and ends in a SIGKILL: at a random moment, or at a
named place in the commit, the publication or the writing of a snapshot. Some rounds kill the
server that comes up again as well, while it recovers. Then the server is started once more, every
request whose reply never arrived is sent again, as is a sample of those that were answered, and it
is stopped cleanly. What log and store hold is compared with what the lines remember:

`lost`: an acknowledged label that no event teaches, an acknowledged batch that is not remembered,
or an acknowledged verb or snapshot that is not there. `duplicated`: a label taught by two events.
`reply_changed`: an acknowledged request that was answered with other bytes when it was sent again,
or an event that holds another reply than the one that was sent. `state_mismatches`: the live state
after recovery differs in any bit from a replay of the whole log from the first snapshot, or a
published snapshot does from the replay at its `seq`. `champion_mismatches`: there is no champion,
or it is older than the last rollback, whose event decides. `audit_mismatches`: a rollback has no
line in the audit trail, or more than one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from benchmarks.crash_traffic import JSON, MODEL, Line, Memory, row_bytes
from model_store.failpoints import VARIABLE
from model_store.log.log import EventLog, Record
from model_store.snapshots.store import SnapshotStore
from service.history.lessons import Lesson, event_of
from service.history.verbs import TEACHING, replaces
from service.hosting.process import ServerProcess
from service.kernels.by_state import KernelByState
from service.rows import UNKNOWN
from service.state import State, same
from service.state.file import from_bytes

RANDOM = "random"
PLACES = (
    RANDOM,
    "log.before_commit",
    "log.after_commit",
    "learner.before_publication",
    "snapshot.files_written",
    "snapshot.renamed",
    "snapshot.before_alias",
    "verb.before_alias",
    "verb.before_audit",
    "verb.after_audit",
)
LINES = 4
TRAFFIC_S = 2.0
REACH_S = 8.0
RETRIED = 60
STATE = "state.safetensors"

APICAL_TOML = """
[storage]
store = {store}
log = {log}

[[models]]
name = "press"
classes = ["ok", "worn"]
hidden = [16, 8]
optimiser = "adam"
step_size = 0.01
snapshot_every_updates = 60
keep_snapshots = 10000
promotion = "manual"
[[models.features]]
name = "temp"
range = [-20, 150]
[[models.features]]
name = "flow"
range = [0, 10]
[[models.features]]
name = "torque"
range = [0, 1]
"""

KERNEL = KernelByState()


@dataclass
class Tally:
    """What all rounds found. The six after ``acknowledged`` must be 0."""

    rounds: int = 0
    acknowledged: int = 0
    lost: int = 0
    duplicated: int = 0
    reply_changed: int = 0
    state_mismatches: int = 0
    champion_mismatches: int = 0
    audit_mismatches: int = 0
    retries: int = 0
    events: int = 0
    rollbacks: int = 0
    snapshots: int = 0
    killed_at: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PLACES, 0))
    killed_while_recovering: int = 0
    found: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (
            self.lost
            or self.duplicated
            or self.reply_changed
            or self.state_mismatches
            or self.champion_mismatches
            or self.audit_mismatches
        )

    def blame(self, key: str, what: str) -> None:
        """Count one finding and keep what it was."""
        setattr(self, key, getattr(self, key) + 1)
        self.found.append(f"round {self.rounds}: {key}: {what}")


class Crash:
    """Rounds of traffic, death and recovery on one set of files.

    Parameters
    ----------
    folder
        Holds configuration, log, store and the servers' standard error.
    seed
        Decides what lines send and when the server dies; threads and the kernel decide the rest.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.rng = random.Random(seed)
        self.memory = Memory()
        self.tally = Tally()
        self.config = folder / "apical.toml"
        self.config.write_text(
            APICAL_TOML.format(store=repr(str(folder / "store")), log=repr(str(folder / "log")))
        )
        self.place = ""
        self._places: list[str] = []

    def round(self, traffic_s: float = TRAFFIC_S) -> None:
        """One server's life and death, and what the next one finds."""
        self.tally.rounds += 1
        self.place = self._next_place()
        self._kill_under_traffic(self.place, traffic_s)
        self._look_at_what_is_left()
        if self.rng.random() < 0.25:
            self._kill_while_recovering()
        server = self._server()
        try:
            server.wait_ready()
            with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as http:
                self._send_again(http)
        finally:
            status = server.stop()
        # uvicorn, once all is closed, raises the signal that it was stopped by.
        if status not in (0, -signal.SIGTERM):
            raise RuntimeError(f"expected a clean stop, found {status}: {server.tail()}")
        self.compare()

    def _next_place(self) -> str:
        if not self._places:
            self._places = list(PLACES)
            self.rng.shuffle(self._places)
        return self._places.pop()

    def _server(self, failpoint: str | None = None) -> ServerProcess:
        environment = {VARIABLE: failpoint} if failpoint else {}
        return ServerProcess(
            ["serve", "--config", str(self.config)], self.folder / "server.log", environment
        )

    def _kill_under_traffic(self, place: str, traffic_s: float) -> None:
        most = {"snapshot": 12, "verb": 4}.get(place.partition(".")[0], 250)
        # Not at birth: the first commits and snapshots belong to the start.
        failpoint = None if place == RANDOM else f"{place}:{self.rng.randint(2, most)}"
        server = self._server(failpoint)
        try:
            server.wait_ready()
            stop = threading.Event()
            lines = [
                Line(server.url, f"{self.tally.rounds}.{n}", self.rng.random(), self.memory, stop)
                for n in range(LINES)
            ]
            for line in lines:
                line.start()
            within = self.rng.uniform(0.3, 1) * traffic_s if failpoint is None else REACH_S
            deadline = time.monotonic() + within
            while server.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
        finally:
            died = server.process.poll() is not None
            status = server.kill()
        stop.set()
        for line in lines:
            line.join()
        if status != -signal.SIGKILL:
            raise RuntimeError(f"expected a death by SIGKILL, found {status}: {server.tail()}")
        for line in lines:
            if line.error is not None:
                raise line.error
        self.tally.killed_at[place if died else RANDOM] += 1

    def _kill_while_recovering(self) -> None:
        server = self._server()
        time.sleep(self.rng.uniform(0, 0.3))
        server.kill()
        self.tally.killed_while_recovering += 1

    def _send_again(self, http: httpx.Client) -> None:
        """What was never answered, then some of what was."""
        memory, tally = self.memory, self.tally
        for request in memory.take_unanswered():
            response = http.post(request.path, content=request.body, headers=JSON)
            memory.acknowledge(request, response)
        keyed = [e for e in memory.exchanges if e.request.repeatable]
        # The latest died with the server; of the others, some.
        chosen = keyed[-RETRIED:] + self.rng.sample(keyed, min(RETRIED, len(keyed)))
        for exchange in chosen:
            response = http.post(exchange.request.path, content=exchange.request.body, headers=JSON)
            tally.retries += 1
            if response.content != exchange.reply:
                tally.blame(
                    "reply_changed",
                    f"{exchange.request.body!r}: {exchange.reply!r} became {response.content!r}",
                )

    def compare(self) -> None:
        """Hold log and store to what the lines remember."""
        tally, memory = self.tally, self.memory
        torch.set_num_threads(1)  # as the learner: replay is bitwise under the same count
        store = SnapshotStore.open(self.folder / "store")
        with EventLog.open(self.folder / "log") as log:
            log.verify(MODEL)
            events = list(log.events(MODEL))
            self._lost(log, events)
        self._compare_lessons(events)
        self._compare_states(store, events)
        tally.acknowledged = memory.labelled
        tally.retries += memory.retries
        memory.retries = 0
        for changed in memory.changed:
            tally.blame("reply_changed", changed)
        memory.changed.clear()
        tally.events = len(events)
        tally.rollbacks = sum(replaces(event) for event in events)
        tally.snapshots = len(store.versions(MODEL))
        store.close()

    def _look_at_what_is_left(self) -> None:
        """Before anything is sent again, which would teach what was lost once more."""
        left = self.folder / "left"
        shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(self.folder / "log", left)
        with EventLog.open(left) as log:
            self._lost(log, list(log.events(MODEL)))

    def _lost(self, log: EventLog, events: list[Record]) -> None:
        """Each acknowledged label is taught, each batch remembered, each rollback there."""
        tally, taught = self.tally, taught_by(events)
        for exchange in self.memory.exchanges:
            request = exchange.request
            for row, label in zip(request.rows, request.labels or (), strict=False):
                if label is not None and not taught[row_bytes(row), label]:
                    tally.blame("lost", f"{request.body!r}: no event teaches {row} {label}")
            if request.batch_id is not None and log.batch(MODEL, request.batch_id) is None:
                tally.blame("lost", f"batch {request.batch_id} is not remembered")
        by_seq = {event.seq: event for event in events}
        for seq, version in self.memory.rollbacks:
            verb = by_seq.get(seq)
            if verb is None or (verb.kind, verb.snapshot) != ("rollback", version):
                tally.blame("lost", f"rollback to {version} at seq {seq}: the log has {verb}")

    def _compare_lessons(self, events: list[Record]) -> None:
        """No label is taught by two events; each event holds the reply that was sent."""
        tally, taught = self.tally, taught_by(events)
        replies = {event.reply for event in events if event.kind in TEACHING}
        # No two rows of the traffic are alike, so a row tells its batch.
        for (row, label), times in taught.items():
            if times > 1:
                tally.blame("duplicated", f"row {row.hex()}, label {label}: taught {times} times")
        for exchange in self.memory.exchanges:
            if exchange.teaches and exchange.reply not in replies:
                tally.blame("reply_changed", f"no event holds the reply {exchange.reply!r}")

    def _compare_states(self, store: SnapshotStore, events: list[Record]) -> None:
        """Apply the whole log to the newborn state; compare wherever a snapshot was taken."""
        tally = self.tally
        stored: dict[int, list[tuple[int, State]]] = {}
        for version in store.versions(MODEL):
            state = from_bytes(store.read(MODEL, version, STATE))
            stored.setdefault(state.seq, []).append((version, state))
        versions = {version: state for kept in stored.values() for version, state in kept}
        for version in self.memory.snapshots - versions.keys():
            tally.blame("lost", f"snapshot {version} was acknowledged and is not there")
        state = versions[1]
        for event in [None, *events]:
            if event is not None:
                replacement = versions[event.snapshot or 0] if replaces(event) else None
                state, _ = KERNEL.apply(state, event_of(event, replacement))
            for version, kept in stored.pop(state.seq, ()):
                if not same(kept, state):
                    tally.blame("state_mismatches", f"snapshot {version} at seq {state.seq}")
        for seq in stored:
            tally.blame("state_mismatches", f"a snapshot at seq {seq}, where the log has no event")
        # A clean stop leaves the live state as the newest snapshot.
        newest = versions[max(versions)]
        if newest.seq != state.seq:
            tally.blame("state_mismatches", f"stopped at seq {newest.seq}, log at {state.seq}")
        champion = store.alias(MODEL, "champion")
        last = max((event.seq for event in events if replaces(event)), default=0)
        if champion is None or champion.seq < last:
            tally.blame("champion_mismatches", f"{champion} after the rollback at seq {last}")
        lines = store.audit(MODEL).entries()
        trail = Counter(entry.seq for entry in lines if entry.verb == "rollback")
        expected = Counter(event.seq for event in events if replaces(event))
        for seq in trail.keys() | expected.keys():
            if trail[seq] != expected[seq]:
                tally.blame(
                    "audit_mismatches",
                    f"rollback at seq {seq}: {expected[seq]} in the log, {trail[seq]} in the trail",
                )


def taught_by(events: list[Record]) -> Counter[tuple[bytes, int]]:
    """How often each labelled row was taught, by its float32 bytes and its label."""
    taught: Counter[tuple[bytes, int]] = Counter()
    for event in events:
        if event.kind in TEACHING:
            lesson = Lesson.from_bytes(event.payload)
            for row, label in zip(lesson.rows, lesson.labels.tolist(), strict=True):
                if label != UNKNOWN:
                    taught[row.tobytes(), label] += 1
    return taught


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill a learner over and over; lose nothing.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--traffic-s", type=float, default=TRAFFIC_S)
    parser.add_argument("--folder", type=Path, help="keep the files here; default: a scratch one")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        crash = Crash(folder, options.seed)
        for _ in range(options.rounds):
            crash.round(options.traffic_s)
            print(
                f"round {crash.tally.rounds}: {crash.place}, {crash.tally.events} events,"
                f" {crash.tally.acknowledged} acknowledged,"
                f" {len(crash.tally.found)} findings",
                flush=True,
            )
    figures: dict[str, Any] = {
        **asdict(crash.tally),
        "seed": options.seed,
        "lines": LINES,
        "seconds": round(time.monotonic() - started, 1),
        "machine": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "machine": platform.machine(),
            "system": platform.platform(),
            "cpus": os.cpu_count(),
        },
    }
    text = json.dumps(figures, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    sys.exit(0 if crash.tally.sound else 1)


if __name__ == "__main__":
    main()
