"""Does anything grow? Mixed traffic for minutes, on a learner and two replicas.

    python -m benchmarks.soak --minutes 10 --json out.json

A learner with gate, guard and drift watched, and two replicas, run as processes of their own.
Threads predict on all three, teach batches of 1 to 100 rows, send labels late and row by row; every
three seconds an operator does something: snapshot, rollback, promote, freeze, thaw, a dry run of a
rebase, audit, list. Half-way the replicas' store is taken away for some seconds (the learner stands
still, as it does where a machine swaps): what is refused then is counted apart.

`errors_5xx`: answers of 500 and above that are no 503 with Retry-After during the stall.
`rss_growth_mib_per_hour`: slope of the learner's resident memory over the last half.
`fds_growth`, `threads_growth`: of the learner, last quarter's median over the second quarter's.
`disk_bytes_per_event`: of the log, at the end.
`snapshots_kept`: at the end, of a model with `keep_snapshots` 10.
`replay_equal`: after a clean stop, the log from the oldest snapshot gives the state of the newest,
bitwise.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import random
import signal
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from clients import ApicalClientError, Client, Rejected, TryAgain, Unreachable
from model_store.log.log import EventLog
from model_store.snapshots.store import SnapshotStore
from service.history.replay import replay
from service.hosting.process import ServerProcess
from service.kernels.by_state import KernelByState
from service.manifest import sound
from service.publishing.taking import load_state
from service.state import same

MODEL = "press"
KEEP = 10
VERB_EVERY_S = 3.0
SAMPLE_EVERY_S = 0.5
STALL_S = 3.0

APICAL_TOML = """
[storage]
store = {store}
log = {log}

[drift]
reference_rows = 2000

[[models]]
name = "press"
classes = ["ok", "worn"]
hidden = [32, 16]
snapshot_every_updates = 100
keep_snapshots = 10
keep_aliased_days = 0.0001
promotion = "gate"
guard = "alarm"
[[models.features]]
name = "temp"
range = [-20, 150]
[[models.features]]
name = "flow"
range = [0, 10]
"""


class Traffic:
    """The threads, and what they were answered."""

    def __init__(self, learner: str, replicas: list[str], seed: int) -> None:
        self.learner, self.replicas, self.seed = learner, replicas, seed
        self.codes: collections.Counter[str] = collections.Counter()
        self.found: list[str] = []
        self.stalled = threading.Event()
        self._over = threading.Event()
        self._late: collections.deque[tuple[str, list[str]]] = collections.deque(maxlen=200)
        jobs = [self._teach, self._teach, self._label, self._operate]
        jobs += [lambda rng, c: self._predict(rng, c)] * 2
        homes = [learner] * 4 + replicas
        self._threads = [
            threading.Thread(target=self._run, args=(number, job, home))
            for number, (job, home) in enumerate(zip(jobs, homes, strict=True))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int, job: Any, home: str) -> None:
        rng = random.Random(self.seed * 100 + number)
        with Client(home, timeout_s=60.0) as client:
            while not self._over.is_set():
                try:
                    job(rng, client)
                    self.codes["answered"] += 1
                except TryAgain as error:
                    apart = error.status == 503 and self.stalled.is_set()
                    self._count("stalled_503" if apart else str(error.status), error)
                    self._over.wait(0.05)
                except Rejected as error:
                    self._count(str(error.status), error)
                except (Unreachable, ApicalClientError) as error:
                    self._count("stalled" if self.stalled.is_set() else "unreachable", error)
                    self._over.wait(0.05)

    def _count(self, code: str, error: Exception) -> None:
        self.codes[code] += 1
        if (code.startswith("5") or code == "unreachable") and len(self.found) < 20:
            self.found.append(f"{code}: {error}")

    def _rows(self, rng: random.Random, count: int) -> tuple[list[dict[str, float]], list[str]]:
        temps = [rng.gauss(60, 10) for _ in range(count)]
        rows = [{"temp": t, "flow": rng.uniform(0, 10)} for t in temps]
        return rows, ["worn" if t > 62 else "ok" for t in temps]

    def _predict(self, rng: random.Random, client: Client) -> None:
        client.predict(MODEL, self._rows(rng, rng.choice((1, 1, 5, 50)))[0])
        self._over.wait(0.01)

    def _teach(self, rng: random.Random, client: Client) -> None:
        rows, labels = self._rows(rng, rng.choice((1, 1, 1, 8, 100)))
        batch_id = f"b{rng.getrandbits(60)}"
        if rng.random() < 0.3:
            client.predict(MODEL, rows, batch_id=batch_id)
            self._late.append((batch_id, labels))
        else:
            client.learn(MODEL, rows, labels, batch_id=batch_id if rng.random() < 0.5 else None)
        self._over.wait(0.01)

    def _label(self, rng: random.Random, client: Client) -> None:
        if not self._late:
            self._over.wait(0.05)
            return
        batch_id, labels = self._late.popleft()
        if len(labels) > 1 and rng.random() < 0.5:
            for index in range(min(5, len(labels))):
                one: list[str | None] = [None] * len(labels)
                one[index] = labels[index]
                client.label(MODEL, batch_id, one)
        else:
            client.label(MODEL, batch_id, labels)

    def _operate(self, rng: random.Random, client: Client) -> None:
        self._over.wait(VERB_EVERY_S)
        versions = [s.version for s in client.snapshots(MODEL) if s.raw["cause"] != "staged"]
        version = rng.choice(versions[-5:])
        verb = rng.randrange(8)
        said = {"reason": "soak", "actor": "soak"}
        if verb == 0:
            client.snapshot(MODEL)
        elif verb == 1:
            client.verb(MODEL, "rollback", version=version, **said)
        elif verb == 2:
            client.verb(MODEL, "promote", version=version, **said)
        elif verb == 3:
            client.verb(MODEL, "promote", auto=True, **said)
        elif verb == 4:
            client.verb(MODEL, "freeze", **said)
            client.verb(MODEL, "thaw", **said)
        elif verb == 5:
            seq = client.model(MODEL).seq
            client.verb(MODEL, "rebase", dry_run=True, without=[[max(1, seq - 50), seq]], **said)
        elif verb == 6:
            client.ask(MODEL, "audit")
        else:
            client.ask(MODEL, "drift")


def sample(process: int, folder: Path, store: Path) -> dict[str, Any]:
    """What a process and its files take now."""
    status = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{process}/status").read_text().splitlines()
        if ":" in line
    )
    wal = folder / "events.sqlite3-wal"
    return {
        "rss_mib": int(status["VmRSS"].split()[0]) / 1024,
        "threads": int(status["Threads"]),
        "fds": len(list(Path(f"/proc/{process}/fd").iterdir())),
        "log_bytes": sum(f.stat().st_size for f in folder.iterdir() if f.is_file()),
        "wal_bytes": wal.stat().st_size if wal.exists() else 0,
        "snapshots": len(list((store / "models" / MODEL / "snapshots").glob("[0-9]*"))),
    }


def slope_per_hour(samples: list[dict[str, Any]], key: str) -> float:
    """Least squares over the last half."""
    last = samples[len(samples) // 2 :]
    at = np.array([s["at"] for s in last])
    return float(np.polyfit(at - at[0], np.array([s[key] for s in last]), 1)[0] * 3600)


def growth(samples: list[dict[str, Any]], key: str) -> float:
    """Median of the last quarter over that of the second."""
    n = len(samples)
    before, after = samples[n // 4 : n // 2], samples[-(n // 4) :]
    return statistics.median(s[key] for s in after) - statistics.median(s[key] for s in before)


def replayed(store: SnapshotStore, events: EventLog) -> bool:
    """Whether the log from the oldest snapshot gives the state of the newest."""
    snapshots = sorted(sound(store, MODEL), key=lambda m: (m.seq, -m.version))
    kernel = KernelByState()
    oldest, newest = snapshots[0], snapshots[-1]
    state = replay(
        kernel,
        load_state(store, MODEL, oldest.version),
        events.events(MODEL, after=oldest.seq, until=newest.seq),
        lambda model, version: load_state(store, model, version),
    )
    return same(state, load_state(store, MODEL, newest.version))


def soak(minutes: float, seed: int, folder: Path) -> dict[str, Any]:
    store, log = folder / "store", folder / "log"
    config = folder / "apical.toml"
    config.write_text(APICAL_TOML.format(store=repr(str(store)), log=repr(str(log))))
    samples: list[dict[str, Any]] = []
    replica_samples: list[float] = []
    with contextlib.ExitStack() as stack:
        learner = stack.enter_context(
            ServerProcess(["serve", "--config", str(config)], folder / "learner.log")
        )
        learner.wait_ready()
        replicas = [
            stack.enter_context(
                ServerProcess(
                    ["replica", "--store", str(store), "--poll-s", "0.2"], folder / "replica.log"
                )
            )
            for _ in range(2)
        ]
        for replica in replicas:
            replica.wait_ready()
        traffic = Traffic(learner.url, [replica.url for replica in replicas], seed)
        traffic.start()
        started = time.monotonic()
        end, stall_at = started + 60 * minutes, started + 30 * minutes
        while (now := time.monotonic()) < end:
            if stall_at is not None and now >= stall_at:
                stall_at = float("inf")
                traffic.stalled.set()
                learner.process.send_signal(signal.SIGSTOP)
                time.sleep(STALL_S)
                learner.process.send_signal(signal.SIGCONT)
                time.sleep(1.0)
                traffic.stalled.clear()
            samples.append({"at": now - started, **sample(learner.process.pid, log, store)})
            replica_samples.append(sample(replicas[0].process.pid, log, store)["rss_mib"])
            httpx.get(f"{learner.url}/metrics", timeout=30)
            time.sleep(SAMPLE_EVERY_S)
        traffic.stop()
        with Client(learner.url) as client:
            events = client.model(MODEL).seq
            kept = len(client.snapshots(MODEL))
    last = sample_files(log, store)
    reader = SnapshotStore.open(store)
    with EventLog.open(log) as opened:
        equal = replayed(reader, opened)
    codes = dict(traffic.codes)
    half = len(replica_samples) // 2
    return {
        "errors_5xx": sum(n for code, n in codes.items() if code.startswith("5")),
        "unreachable": codes.get("unreachable", 0),
        "stalled_503": codes.get("stalled_503", 0) + codes.get("stalled", 0),
        "rss_growth_mib_per_hour": slope_per_hour(samples, "rss_mib"),
        "rss_growth_replica_mib": max(replica_samples[half:]) - replica_samples[half],
        "fds_growth": growth(samples, "fds"),
        "threads_growth": growth(samples, "threads"),
        "disk_bytes_per_event": last["log_bytes"] / max(events, 1),
        "wal_bytes_max": max(s["wal_bytes"] for s in samples),
        "snapshots_kept": kept,
        "keep_snapshots": KEEP,
        "replay_equal": equal,
        "events": events,
        "codes": codes,
        "found": traffic.found,
        "samples": samples,
    }


def sample_files(log: Path, store: Path) -> dict[str, int]:
    return {"log_bytes": sum(f.stat().st_size for f in log.iterdir() if f.is_file())}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="apical-soak-") as folder:
        figures = soak(chosen.minutes, chosen.seed, Path(folder))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps({k: v for k, v in figures.items() if k != "samples"}, indent=2))


if __name__ == "__main__":
    main()
