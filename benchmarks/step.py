"""What one labelled row costs, and how large a state is, by sensors and members.

    python -m benchmarks.step --json out.json

Each figure is the median of `--rows` rows, one a step, the learners taking turns every 25 rows in
one process. Both kernels run all of them; `ratio` is over `plain` in torch, which is the one tanh
network with SGD of before there were members.
`blocks` is the accuracy of `gain` on Waveform and digits with one P and with one for each sensor,
the form that a thousand sensors have.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.output import write
from benchmarks.streams import ours
from benchmarks.streams.data import load
from benchmarks.streams.passes import packed
from service.config.model import ENSEMBLE
from service.kernels.by_state import KernelByState
from service.state import Configuration, Labelled, plain
from service.state.file import to_bytes
from service.state.network import members

LEARNERS = {
    "gain": ("gain",),
    "default": ENSEMBLE,
    "with_rehearsal": ours.REHEARSING,
}
CLASSES = 4
TURN = 25


def cost(sensors: int, rows: int) -> dict[str, Any]:
    """Median µs a row and bytes of the state, by learner."""
    rng = np.random.default_rng(0)
    ranges = ((-3.0, 3.0),) * sensors
    configurations = {"plain": plain(ranges, CLASSES, rows_per_step=1)}
    for name, names in LEARNERS.items():
        configurations[name] = Configuration(ranges, CLASSES, members(names, (64,), 0))
    kernel = KernelByState()
    states = {
        f"{name}.{who}": kernel.initial(configuration)._replace(kernel=who)
        for name, configuration in configurations.items()
        for who in ("torch", "onnx")
    }
    spent: dict[str, list[float]] = {name: [] for name in states}
    for _ in range(0, rows, TURN):
        x = rng.normal(size=(TURN, sensors)).astype(np.float32)
        y = (x[:, 0] > 0).astype(np.int64) + 2 * (x[:, -1] > 0)
        for name in states:
            for row, label in zip(x, y, strict=True):
                lesson = Labelled(row[None], np.array([label]))
                began = time.perf_counter()
                states[name], _ = kernel.apply(states[name], lesson)
                spent[name].append(time.perf_counter() - began)
    median = {name: float(np.median(times[rows // 5 :])) * 1e6 for name, times in spent.items()}
    return {
        "us_a_row": median,
        "ratio": {name: value / median["plain.torch"] for name, value in median.items()},
        "state_bytes": {name: len(to_bytes(states[f"{name}.onnx"])) for name in configurations},
    }


def blocks(rows: int) -> dict[str, dict[str, float]]:
    """Accuracy with one P and with one for each sensor."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("Waveform", "digits"):
            stream = load(name, 100, Path(scratch)).head(rows)
            for kind, dense in (("one", 10**6), ("for_each_sensor", 1)):
                (network,) = members(("gain",), (64,), 0)
                network = replace(network, dense_inputs=dense)
                configuration = Configuration(stream.ranges, stream.classes, (network,))
                method = ours.Ours(lambda s, k, c=configuration: c, stream, 0)  # type: ignore[misc]
                said = packed(method, stream, 1)
                found.setdefault(name, {})[kind] = float((said.argmax(1) == stream.y).mean())
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--sensors", type=int, nargs="+", default=[8, 18, 52, 1000])
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found: dict[str, Any] = {str(n): cost(n, given.rows) for n in given.sensors}
    found["blocks"] = blocks(10 * given.rows)
    write(found, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
