"""Does anything grow faster than what is asked of it?

    python -m benchmarks.scale --json out.json [--quick]

`exponents.<curve>`: the slope of log time over log size, least squares: 1 is linear, less is
better. `update_parameters`: one update of a plain network of 10³ to 10⁷ weights; `update_rows`: of
48-256-128-64-4 by 1 to 4,096 rows in one step; `replay_events` and `snapshot_events`: replaying a
log of so many events, and taking a snapshot behind it; `models_start`: from the start of a learner
of so many newborn plain 9-32-16-2 networks until it is ready. `points` has the curves.
`models_1000_mib` is the resident memory of that learner's process with the most models,
`replica_mib` a replica's of one model. `replica_swap_ratio`: a replica's memory after so many swaps
between two versions over that after the first tenth of them. `replay_events_per_s_ratio`: this
commit's `benchmarks.recovery` with `members = ["plain"]` over that of commit 6ef8b03, checked out
beside, in turns; needs the history.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import recovery
from benchmarks.output import write
from clients import Client
from model_store.log.log import EventLog
from model_store.snapshots.store import SnapshotStore
from service.bootstrap.learner import open_learner
from service.bootstrap.replica import open_replica
from service.config.file import load
from service.history.replay import replay
from service.hosting.process import ServerProcess
from service.kernels.by_state import KernelByState
from service.replica.serving import load as load_version
from service.state import Labelled, State, plain
from service.state.file import from_bytes

KERNEL = KernelByState()
BEFORE = "6ef8b03"
ROOT = Path(__file__).parent.parent
PLAIN = "members = ['plain']\nhidden = {hidden}\n"

Points = list[tuple[float, float]]


def exponent(points: Points) -> float:
    x, y = np.log(np.array(points)).T
    return float(np.polyfit(x, y, 1)[0])


def median_s(do: Callable[[], Any], times: int) -> float:
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        do()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent[times // 5 :])


def resident_mib(pid: int | str = "self", what: str = "VmRSS") -> float:
    """Of a process, in MiB; ``what`` as the kernel calls it."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024


def _update(state: State, rows: int, times: int) -> float:
    rng = np.random.default_rng(0)
    sensors = len(state.configuration.ranges)
    lesson = Labelled(rng.normal(size=(rows, sensors)).astype(np.float32), rng.integers(0, 4, rows))

    def once() -> None:
        nonlocal state
        state, _ = KERNEL.apply(state, lesson)

    return median_s(once, times)


def updates(quick: bool) -> dict[str, Points]:
    ranges = ((-5.0, 5.0),) * 48
    found: dict[str, Points] = {"update_parameters": [], "update_rows": []}
    for width in (20, 200, 2000) if quick else (20, 200, 2000, 20_000, 200_000):
        state = KERNEL.initial(plain(ranges, 4, (width,)))._replace(kernel="onnx")
        parameters = sum(w.size for w in state.synapses.weights)
        times = 100 if width < 5000 else 10
        found["update_parameters"].append((parameters, _update(state, 1, times)))
    state = KERNEL.initial(plain(ranges, 4, (256, 128, 64)))._replace(kernel="onnx")
    for rows in (1, 16, 256) if quick else (1, 16, 256, 4096):
        found["update_rows"].append((rows, _update(state, rows, 30)))
    return found


def events(quick: bool) -> dict[str, Points]:
    found: dict[str, Points] = {"replay_events": [], "snapshot_events": []}
    for count in (1000, 2000) if quick else (1000, 4000, 16_000, 64_000):
        with tempfile.TemporaryDirectory() as scratch:
            config = recovery.configured(Path(scratch), PLAIN.format(hidden=[64]), "onnx")
            configuration = load(config)
            recovery.fill(configuration, recovery.lessons(count, 0))
            with contextlib.closing(SnapshotStore.open(configuration.storage.store)) as store:
                state = from_bytes(store.read(recovery.MODEL, 1, "state.safetensors"))
            with EventLog.open(Path(configuration.storage.log)) as log:
                began = time.perf_counter()
                replay(KERNEL, state, log.events(recovery.MODEL), _refuse)
                found["replay_events"].append((count, time.perf_counter() - began))
            with ServerProcess(["serve", "--config", str(config)], Path(scratch) / "log.txt") as s:
                s.wait_ready(600)
                began = time.perf_counter()
                with Client(s.url) as client:
                    client.snapshot(recovery.MODEL)
                found["snapshot_events"].append((count, time.perf_counter() - began))
    return found


def _refuse(model: str, version: int) -> State:
    raise ValueError(f"{model}: expected no event that names a snapshot, found {version}")


def many_models(quick: bool) -> tuple[Points, float]:
    points: Points = []
    memory = 0.0
    for count in (1, 10) if quick else (1, 10, 100, 1000):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            text = f"[storage]\nstore = {str(folder / 'store')!r}\nlog = {str(folder / 'log')!r}\n"
            for index in range(count):
                text += f"[[models]]\nname = 'm{index}'\nclasses = ['ok', 'worn']\n"
                text += PLAIN.format(hidden=[32, 16])
                for sensor in range(9):
                    text += f"[[models.features]]\nname = 's{sensor}'\nrange = [-5, 5]\n"
            path = folder / "apical.toml"
            path.write_text(text)
            began = time.perf_counter()
            server = ServerProcess(["serve", "--config", str(path)], folder / "log.txt")
            try:
                server.wait_ready(1200)
                points.append((count, time.perf_counter() - began))
                memory = resident_mib(server.process.pid)
            finally:
                server.kill()
    return points, memory


def replicas(swaps: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        config = recovery.configured(Path(scratch), PLAIN.format(hidden=[64]), "onnx")
        configuration = load(config)
        learner = open_learner(configuration)
        learner.start()
        learner.close()
        recovery.fill(configuration, recovery.lessons(100, 0))
        learner = open_learner(configuration)
        learner.start()
        # The end takes a second snapshot, of what the log had.
        learner.close()
        store = str(configuration.storage.store)
        with ServerProcess(["replica", "--store", store], Path(scratch) / "r.txt") as server:
            server.wait_ready()
            whole = resident_mib(server.process.pid)
        replica = open_replica(store)
        try:
            replica.poll()
            followed = replica.models[recovery.MODEL]
            versions = replica.store.versions(recovery.MODEL)[-2:]
            before = 0.0
            for k in range(swaps):
                followed.previous = followed.serving
                followed.serving = load_version(
                    replica.store, recovery.MODEL, versions[k % len(versions)]
                )
                if k + 1 == max(1, swaps // 10):
                    gc.collect()
                    before = resident_mib()
            gc.collect()
            return {"replica_mib": whole, "replica_swap_ratio": resident_mib() / before}
        finally:
            replica.close()


def replay_ratio(count: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        then = Path(scratch) / "then"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(then), BEFORE], check=True)
        try:
            rates: dict[str, list[float]] = {"now": [], "then": []}
            for _ in range(rounds):
                for who, at, more in (
                    ("now", ROOT, ["--model", "members = ['plain']"]),
                    ("then", then, []),
                ):
                    out = Path(scratch) / "out.json"
                    command = [sys.executable, "-m", "benchmarks.recovery", "--json", str(out)]
                    command += ["--events", str(count), "--compared", str(count), *more]
                    environment = {**os.environ, "PYTHONPATH": str(at)}
                    subprocess.run(
                        command, cwd=at, env=environment, check=True, stdout=subprocess.DEVNULL
                    )
                    rates[who].append(json.loads(out.read_text())["events_per_s"])
        finally:
            subprocess.run([*git, "remove", "--force", str(then)], check=True)
    ratio = statistics.median(rates["now"]) / statistics.median(rates["then"])
    return {"replay_events_per_s_ratio": ratio, "replay_events_per_s": rates}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, no other commit")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args(arguments)
    curves = {**updates(given.quick), **events(given.quick)}
    found: dict[str, Any] = replicas(30 if given.quick else 10_000)
    curves["models_start"], found["models_1000_mib"] = many_models(given.quick)
    if not given.quick:
        found |= replay_ratio(8000, 3)
    found["exponents"] = {name: exponent(points) for name, points in curves.items()}
    found["points"] = curves
    write(found, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
