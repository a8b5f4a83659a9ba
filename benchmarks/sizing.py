"""What a line needs of a machine: processor, memory and disk, by sensors, recipe and packing.

    python -m benchmarks.sizing --json out.json

A real server learns labelled requests of one client, with metrics, drift watching, gate and guard
on. Keys are `<recipe>.<sensors>.<rows a request>.{cpu_ms_a_row,rows_per_core_s,log_bytes_a_row,
snapshot_bytes,resident_mib}`: processor time of the whole server process, the rows a second that
would fill one core, growth of the log's files, the files of the last snapshot, and memory at the
end.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.configured import configured
from benchmarks.output import write
from benchmarks.scale import resident_mib
from clients import Client
from service.hosting.process import ServerProcess

MODEL = "line"
RECIPES = {"plain": "members = ['plain']\noptimiser = 'sgd'\n", "default": ""}
CLASSES = ("c0", "c1", "c2", "c3")
WARM = 0.2


def measure(recipe: str, sensors: int, packed: int, rows: int) -> dict[str, float]:
    """The figures of one learner."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="apical-") as scratch:
        folder = Path(scratch)
        path = configured(folder, MODEL, CLASSES, sensors, recipe)
        with ServerProcess(["serve", "--config", str(path)], folder / "log.txt") as server:
            server.wait_ready(120)
            pid, before = server.process.pid, (0.0, 0)
            with Client(server.url) as client:
                for first in range(0, rows, packed):
                    if first == int(rows * WARM) // packed * packed:
                        before = _cpu_s(pid), _bytes(folder / "log")
                    x = rng.normal(size=(packed, sensors)).clip(-5, 5).round(3)
                    labels = [CLASSES[int(a > 0) + 2 * int(b > 0)] for a, b in x[:, :2]]
                    columns = {f"sensor_{k}": x[:, k].tolist() for k in range(sensors)}
                    client.learn(MODEL, columns=columns, labels=labels)
                measured = rows - int(rows * WARM) // packed * packed
                cpu = max(_cpu_s(pid) - before[0], 0.01)  # the kernel counts in ticks
                log = _bytes(folder / "log") - before[1]
                memory = resident_mib(pid)
                version = client.snapshot(MODEL).version
            snapshot = _bytes(folder / f"store/models/{MODEL}/snapshots/{version:08d}")
    return {
        "cpu_ms_a_row": cpu / measured * 1000,
        "rows_per_core_s": measured / cpu,
        "log_bytes_a_row": log / measured,
        "snapshot_bytes": snapshot,
        "resident_mib": memory,
    }


def _cpu_s(pid: int) -> float:
    said = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(said[11]) + int(said[12])) / os.sysconf("SC_CLK_TCK")


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizing", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--rows", type=int, default=6400, help="of each learner")
    parser.add_argument("--sensors", type=int, nargs="+", default=[8, 18, 52])
    parser.add_argument("--packed", type=int, nargs="+", default=[1, 32])
    given = parser.parse_args(arguments)
    found: dict[str, Any] = {
        name: {
            str(sensors): {
                str(packed): measure(recipe, sensors, packed, given.rows) for packed in given.packed
            }
            for sensors in given.sensors
        }
        for name, recipe in RECIPES.items()
    }
    write(found, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
