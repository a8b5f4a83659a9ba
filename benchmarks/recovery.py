"""How fast does a learner come back? Replay of a log beside learning with no log at all.

    python -m benchmarks.recovery --json out.json [--model 'members = ["plain"]'] [--kernel torch]

Fills a log with labelled events of one row each, eight sensors and the configuration's defaults
beside what is given, and measures

`events_per_s`: from the first event read to the last state, through the log (each event's chain
checked, its arrays unpacked); `in_memory_events_per_s`: learning the same arrays by
the same kernel, with no log; both in this run and process, in turns, on slices of the same
events, each rate the median over slices. `ratio_to_in_memory` is the first over the second.
`seconds_to_ready`: from the start of a real server, whose only snapshot is that of its birth and
whose log has all events, until it says that it is ready; the import of torch is in it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.configured import configured as toml
from model_store.log.log import EventLog, Record
from model_store.snapshots.store import SnapshotStore
from service.bootstrap.learner import open_learner
from service.config.file import load
from service.config.process import Configuration
from service.history.lessons import Lesson
from service.history.replay import replay
from service.hosting.process import ServerProcess
from service.kernels.by_state import KernelByState
from service.state import State, same
from service.state.file import from_bytes

MODEL = "press"
SENSORS = 8
GROUP = 2000
SLICE = 1000
READY_S = 900.0

KERNEL = KernelByState()


def configured(folder: Path, model: str, kernel: str) -> Path:
    """A configuration file whose store and log lie beside it."""
    return toml(folder, MODEL, ("ok", "worn"), SENSORS, f'kernel = "{kernel}"\n{model}')


def lessons(count: int, seed: int) -> list[Lesson]:
    """Labelled events of one row: the class is the sign of a noisy sum."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 1, SENSORS)).astype(np.float32)
    labels = (rows.sum(2) + rng.normal(scale=0.5, size=(count, 1)) > 0).astype(np.int64)
    return [Lesson(row, label) for row, label in zip(rows, labels, strict=True)]


def fill(configuration: Configuration, events: list[Lesson]) -> None:
    """Give birth to the model, then write its events; nothing has to be learned for that."""
    learner = open_learner(configuration)
    try:
        learner.start()
    finally:
        learner.close()
    now = time.time()
    with EventLog.open(Path(configuration.storage.log)) as log:
        for first in range(0, len(events), GROUP):
            log.commit(
                [
                    Record(MODEL, seq, "batch", now, lesson.to_bytes(), b"{}")
                    for seq, lesson in enumerate(events[first : first + GROUP], first + 1)
                ]
            )


def rates(configuration: Configuration, events: list[Lesson]) -> tuple[list[float], list[float]]:
    """Events per second of each slice: through the log, and in memory."""
    with contextlib.closing(SnapshotStore.open(configuration.storage.store)) as store:
        born = from_bytes(store.read(MODEL, 1, "state.safetensors"))

    def refuse(model: str, version: int) -> State:
        raise ValueError(f"{model}: expected no event that names a snapshot, found {version}")

    logged, in_memory = [], []
    replayed = learned = born
    arrays = [(lesson.rows, lesson.labels) for lesson in events]
    with EventLog.open(Path(configuration.storage.log)) as log:
        for first in range(0, len(events), SLICE):
            started = time.perf_counter()
            replayed = replay(
                KERNEL, replayed, log.events(MODEL, after=first, until=first + SLICE), refuse
            )
            took = time.perf_counter() - started
            logged.append(SLICE / took)
            started = time.perf_counter()
            for rows, labels in arrays[first : first + SLICE]:
                learned, _ = KERNEL.apply(learned, Lesson(rows, labels).event())
            in_memory.append(SLICE / (time.perf_counter() - started))
    if not same(replayed, learned):
        raise RuntimeError("the state replayed through the log is not the one learned in memory")
    return logged, in_memory


def seconds_to_ready(config: Path, log: Path) -> float:
    """Start a server, wait until it is ready, and kill it."""
    started = time.perf_counter()
    server = ServerProcess(["serve", "--config", str(config)], log)
    try:
        server.wait_ready(READY_S)
        return time.perf_counter() - started
    finally:
        server.kill()


def measure(config: Path, events: int, compared: int, seed: int) -> dict[str, Any]:
    """All figures, on files beside ``config``."""
    folder = config.parent
    configuration = load(config)
    drawn = lessons(events, seed)
    started = time.perf_counter()
    fill(configuration, drawn)
    filled_s = time.perf_counter() - started
    logged, in_memory = rates(configuration, drawn[: max(SLICE, compared // SLICE * SLICE)])
    # Last, for it replays with the files in the page cache, as after a crash of the process.
    ready_s = seconds_to_ready(config, folder / "server.log")
    rate, peer = statistics.median(logged), statistics.median(in_memory)
    return {
        "events": events,
        "events_per_s": round(rate, 1),
        "in_memory_events_per_s": round(peer, 1),
        "ratio_to_in_memory": round(rate / peer, 4),
        "seconds_to_ready": round(ready_s, 3),
        "compared_events": len(logged) * SLICE,
        "fill_seconds": round(filled_s, 2),
        "log_bytes": sum(f.stat().st_size for f in (folder / "log").iterdir()),
        "slices": {
            "events": SLICE,
            "logged_per_s": [round(value, 1) for value in logged],
            "in_memory_per_s": [round(value, 1) for value in in_memory],
        },
        "seed": seed,
        "machine": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "machine": platform.machine(),
            "system": platform.platform(),
            "cpus": os.cpu_count(),
            "threads": 1,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how fast a learner recovers.")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--compared", type=int, default=20_000, help="events learned both ways")
    parser.add_argument("--model", default="", help="more keys of the model")
    parser.add_argument("--kernel", default="onnx", choices=["onnx", "torch"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if options.events < SLICE:
        parser.error(f"--events: expected at least {SLICE}, found {options.events}")
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(
            configured(Path(scratch), options.model, options.kernel),
            options.events,
            min(options.compared, options.events),
            options.seed,
        )
    text = json.dumps(figures, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
