"""What one update costs, beside autograd's and deep-river's, in one run.

    python -m benchmarks.updates --json out.json

`rows_<n>` is a plain network 48-256-128-64-4, tanh, fixed Θ, SGD, one step of n rows;
`default_9.rows_<n>` and `default_52.rows_<n>` are what `apical init` writes, which learns n rows in
n steps. `us` is the median through the kernel's `apply`, from arrays to the new state and the
reply; `ratio_to_torch_kernel` over the same by the torch kernel. Autograd learns the same rows in
one step: the plain network with fused SGD; beside the default 64 ReLU units with fused Adam.
`us_a_row` divides by n. deep-river 0.3.4 (in an environment of its own; `--without-deep-river`)
has the same networks, and its own time is taken over there. All take turns; one thread each.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import torch

from benchmarks.output import write
from benchmarks.peers.deep_river import Far
from service.config.model import ENSEMBLE
from service.kernels.by_state import KernelByState
from service.state import Configuration, Labelled, plain
from service.state.network import members

TURN = 25
"""Rows one by one that each learns before the next has its turn; the first fifth does not count."""

ROWS, CLASSES = (1, 32, 256), 4


class Case(NamedTuple):
    """What is compared: our configuration, and the same network for those who use autograd."""

    configuration: Configuration
    hidden: tuple[int, ...]
    activation: str
    optimiser: str


def cases() -> dict[str, Case]:
    found = {
        "plain": Case(
            plain(((-5.0, 5.0),) * 48, CLASSES, (256, 128, 64)), (256, 128, 64), "Tanh", "SGD"
        )
    }
    for sensors in (9, 52):
        ensemble = Configuration(((-5.0, 5.0),) * sensors, CLASSES, members(ENSEMBLE, (64,), 0))
        found[f"default_{sensors}"] = Case(ensemble, (64,), "ReLU", "Adam")
    return found


class Autograd:
    """torch.nn, torch.autograd and a fused optimiser; standardisation is left out."""

    def __init__(self, case: Case) -> None:
        torch.manual_seed(0)
        layers: list[torch.nn.Module] = []
        width = len(case.configuration.ranges)
        for units in case.hidden:
            layers += [torch.nn.Linear(width, units), getattr(torch.nn, case.activation)()]
            width = units
        self._network = torch.nn.Sequential(*layers, torch.nn.Linear(width, CLASSES))
        optimiser = getattr(torch.optim, case.optimiser)
        self._optimiser = optimiser(self._network.parameters(), lr=1e-3, fused=True)

    def learn(self, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
        logits = self._network(torch.from_numpy(rows))
        self._optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
        self._optimiser.step()
        return torch.softmax(logits.detach(), 1).numpy()


def timed(do: Callable[[], Any]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def compared(case: Case, rows: int, rounds: int, far: Far | None) -> dict[str, float]:
    """Medians in µs, and ratios of medians."""
    kernel, rng = KernelByState(), np.random.default_rng(0)
    states = {
        who: kernel.initial(case.configuration)._replace(kernel=who) for who in ("onnx", "torch")
    }
    autograd = Autograd(case)
    spent: dict[str, list[float]] = {}

    def ours(who: str, lesson: Labelled) -> None:
        states[who], _ = kernel.apply(states[who], lesson)

    turn = TURN if rows == 1 else 5
    for _ in range(max(2, rounds // turn)):
        drawn = []
        for _ in range(turn):
            x = rng.normal(size=(rows, len(case.configuration.ranges))).astype(np.float32)
            drawn.append((x, ((x[:, 0] > 0) + 2 * (x[:, 1] > 0)).astype(np.int64)))
        for who in states:
            times = [timed(lambda: ours(who, Labelled(x, y))) for x, y in drawn]  # noqa: B023
            spent.setdefault(who, []).extend(times[turn // 5 :])
        times = [timed(lambda: autograd.learn(x, y)) for x, y in drawn]  # noqa: B023
        spent.setdefault("autograd", []).extend(times[turn // 5 :])
        if far is not None:
            times = [far.seconds(x, y) for x, y in drawn]
            spent.setdefault("deep_river", []).extend(times[turn // 5 :])
    median = {who: statistics.median(each) * 1e6 for who, each in spent.items()}
    found = {
        "us": median["onnx"],
        "us_a_row": median["onnx"] / rows,
        "torch_kernel_us": median["torch"],
        "ratio_to_torch_kernel": median["onnx"] / median["torch"],
    }
    for peer in ("autograd", "deep_river"):
        if peer in median:
            found[f"{peer}_us"] = median[peer]
            found[f"ratio_to_{peer}"] = median["onnx"] / median[peer]
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.updates", description=__doc__)
    parser.add_argument("--rounds", type=int, default=300, help="of one row; of more rows fewer")
    parser.add_argument("--without-deep-river", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name, case in cases().items():
        into = found if name == "plain" else found.setdefault(name, {})
        for rows in ROWS:
            far = None
            if not given.without_deep_river:
                far = Far(
                    len(case.configuration.ranges),
                    CLASSES,
                    0,
                    hidden=case.hidden,
                    activation=case.activation,
                    step=1e-3,
                    optimiser=case.optimiser.lower(),
                )
            rounds = max(10, given.rounds // (1 if rows == 1 else rows // 4))
            into[f"rows_{rows}"] = compared(case, rows, rounds, far)
    plain_row = found["rows_1"]["us"]
    for sensors in (9, 52):
        one = found[f"default_{sensors}"]["rows_1"]
        one["ratio_to_plain"] = one["us"] / plain_row
        found[f"default_{sensors}"]["rows_32"]["ratio_to_single_steps"] = found[
            f"default_{sensors}"
        ]["rows_32"]["us"] / (32 * one["us"])
    found["versions"] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
    write(found, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
