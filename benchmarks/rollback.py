"""Can ops always go back? Rollbacks and a rebase under traffic, with replicas that follow.

    python -m benchmarks.rollback --json out.json

A learner and three replicas run as processes of their own. While threads ask all of them and teach
the learner, it is rolled back again and again: to a snapshot of the start, to the newest one, to
what an earlier rollback published. Then a range of lessons is unlearned by a rebase. Afterwards
log, store and answers are compared:

`failed_requests`: requests of the traffic that were not answered as they should be.
`mixed_versions`: an answer of a replica whose probabilities differ in any bit from those that
onnxruntime computes from the graph of the version that the answer names, or an answer of the
learner that names no event, or differs in any bit from the state at the event that it names.
`state_mismatches`: what a rollback published is not the state of the snapshot it names (but for
`seq` and whether it is frozen), or a snapshot is not the state of the log at its event, or the
rebased state is not that of a learner which never had the excluded lessons; all bitwise.
`polls_to_all_replicas_*`: from the reply to a rollback until all replicas serve what it published,
in periods of the replicas' polling, rounded up.

What they are compared by is in `benchmarks.rollback_check`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from benchmarks.rollback_check import Figures, compare
from benchmarks.rollback_traffic import MODEL, Heard, Traffic, readings, truth
from clients import Client
from service.hosting.process import ServerProcess

REPLICAS = 3
POLL_S = 0.2
LOOK_S = 0.004
PATIENCE_S = 60.0

APICAL_TOML = """
[storage]
store = {store}
log = {log}

[[models]]
name = "press"
classes = ["ok", "worn"]
hidden = [32, 16]
optimiser = "adam"
step_size = 0.005
snapshot_every_updates = 200
keep_snapshots = 10000
promotion = "immediate"
guard = "off"
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


class Watch(threading.Thread):
    """Looks at one replica until it serves ``version`` or a later one; when that was is ``at``."""

    def __init__(self, client: Client, version: int) -> None:
        super().__init__()
        self.at = math.inf
        self._client, self._version = client, version

    def run(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            # Versions only go up: a later one means that this one was served or overtaken.
            if self._client.model(MODEL).snapshot >= self._version:
                self.at = time.monotonic()
                return
            time.sleep(LOOK_S)


def measure(folder: Path, rollbacks: int, poll_s: float, seed: int) -> tuple[Figures, Heard]:
    """Run the processes and the traffic; what is left in ``folder`` is compared afterwards."""
    figures, rng = Figures(), random.Random(seed)
    config = folder / "apical.toml"
    store = folder / "store"
    config.write_text(APICAL_TOML.format(store=repr(str(store)), log=repr(str(folder / "log"))))
    with contextlib.ExitStack() as stack:
        serve = ["serve", "--config", str(config)]
        learner = stack.enter_context(ServerProcess(serve, folder / "learner.log"))
        follow = ["replica", "--store", str(store), "--poll-s", str(poll_s)]
        replicas = [
            stack.enter_context(ServerProcess(follow, folder / f"replica-{n}.log"))
            for n in range(REPLICAS)
        ]
        for server in (learner, *replicas):
            server.wait_ready()
        client = stack.enter_context(Client(learner.url, timeout_s=PATIENCE_S))
        looks = [stack.enter_context(Client(replica.url)) for replica in replicas]
        early = _teach_early(client)
        traffic = Traffic(learner.url, [replica.url for replica in replicas])
        traffic.start()
        try:
            _roll_back(figures, client, looks, early, rollbacks, poll_s, rng)
            _rebase(figures, client)
        finally:
            traffic.stop()
    figures.failed_requests = len(traffic.heard.failed)
    figures.found += [f"failed_requests: {what}" for what in traffic.heard.failed[:20]]
    return figures, traffic.heard


def _teach_early(client: Client) -> list[int]:
    """A few snapshots that are good to go back to."""
    versions = []
    for start in range(0, 120, 40):
        for index in range(start, start + 40):
            row = readings(index)
            client.learn(MODEL, [row], [truth(row)])
        versions.append(client.snapshot(MODEL).version)
    return versions


def _roll_back(
    figures: Figures,
    client: Client,
    looks: list[Client],
    early: list[int],
    rollbacks: int,
    poll_s: float,
    rng: random.Random,
) -> None:
    took, spread, polls, made = [], [], [], list[int]()
    for number in range(rollbacks):
        # A moment of learning on what was restored, at no fixed phase of anybody's polling.
        time.sleep(rng.uniform(0.05, 0.15) + rng.uniform(0, poll_s))
        match number % 3:
            case 0:
                version = early[number // 3 % len(early)]
            case 1:
                version = client.snapshot(MODEL).version
            case _:
                version = made[-1]
        started = time.monotonic()
        done = client.rollback(MODEL, version, reason="benchmark", actor="benchmark")
        replied = time.monotonic()
        made.append(done["published"])
        watches = [Watch(look, done["published"]) for look in looks]
        for watch in watches:
            watch.start()
        for watch in watches:
            watch.join()
        last = max(watch.at for watch in watches) - replied
        took.append(replied - started)
        spread.append(last)
        polls.append(math.ceil(last / poll_s) if math.isfinite(last) else math.inf)
        figures.rollbacks += 1
        print(f"rollback {number + 1}: to {version}, all replicas after {last:.3f} s", flush=True)
    figures.polls_to_all_replicas_p50 = statistics.median(polls)
    # Of 50 rollbacks the 99th percentile is the slowest one.
    figures.polls_to_all_replicas_p99 = sorted(polls)[math.ceil(0.99 * len(polls)) - 1]
    figures.seconds_to_all_replicas_p50 = round(statistics.median(spread), 4)
    figures.seconds_to_all_replicas_max = round(max(spread), 4)
    figures.rollback_seconds_p50 = round(statistics.median(took), 4)
    figures.rollback_seconds_max = round(max(took), 4)


def _rebase(figures: Figures, client: Client) -> None:
    """Unlearn lessons of the start and of the middle, while more are taught."""
    middle = client.model(MODEL).seq // 2
    # The first range lies before all snapshots that were rolled back to, so it is in all of them.
    ranges = [[20, 35], [middle, middle + 30]]
    started = time.monotonic()
    client.verb(MODEL, "rebase", without=ranges, reason="benchmark", actor="benchmark")
    while (status := client.ask(MODEL, "rebase"))["state"] == "running":
        if time.monotonic() - started > PATIENCE_S:
            raise RuntimeError(f"the rebase does not come to an end: {status}")
        time.sleep(0.02)
    if status["state"] != "done":
        raise RuntimeError(f"expected the rebase to be done, found {status}")
    figures.rebase_seconds = round(time.monotonic() - started, 3)
    figures.rebase_excluded_lessons = status["excluded_lessons"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Roll a live learner back, over and over.")
    parser.add_argument("--rollbacks", type=int, default=50)
    parser.add_argument("--poll-s", type=float, default=POLL_S)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep the files here; default: a scratch one")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        figures, heard = measure(folder, options.rollbacks, options.poll_s, options.seed)
        compare(folder, figures, heard)
    report = {
        **vars(figures),
        "lessons": heard.lessons,
        "replicas": REPLICAS,
        "poll_s": options.poll_s,
        "seed": options.seed,
        "seconds": round(time.monotonic() - started, 1),
        "machine": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
            "machine": platform.machine(),
            "system": platform.platform(),
            "cpus": os.cpu_count(),
            "load": os.getloadavg(),
        },
    }
    text = json.dumps(report, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    sys.exit(0 if figures.sound and figures.polls_to_all_replicas_p99 <= 2 else 1)


if __name__ == "__main__":
    main()
