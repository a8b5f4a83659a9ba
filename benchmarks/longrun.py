"""A million rows through the default learner: does it hold, and does its gain stay sound?

    python -m benchmarks.longrun --json out.json

Cases: `iid`; `ar_999`, sensors of AR(.999); `degenerate`, one constant sensor and two equal ones;
`regimes`, one concept for the first half and another for the second. Each has eight sensors and two
classes with a curved border between them, a tenth of the labels wrong. For each case:

`accuracy_last_over_first`: accuracy over the last tenth of the rows, over that of the second tenth
of the same regime. `p_min_eigenvalue`: the smallest eigenvalue of any P, in double
precision, at 200 places spread over the run. `negative_gain_steps`: of every tenth row, those for
which vᵀPv was below 0 in any layer. `p_asymmetry`: largest |P - Pᵀ| found at those places.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import lfilter

from benchmarks.output import write
from service.config.model import ENSEMBLE
from service.dll.learn import passed
from service.dll.network import Ensemble
from service.kernels.by_state import KernelByState
from service.state import Configuration, Labelled, State
from service.state.network import members

SENSORS = 8
CASES = ("iid", "ar_999", "degenerate", "regimes")
PLACES = 200


class Line(NamedTuple):
    x: NDArray[np.float32]
    y: NDArray[np.int64]


def line(case: str, rows: int, seed: int) -> Line:
    """The rows of a case and their labels, a tenth of which are wrong."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, SENSORS))
    if case == "ar_999":
        x *= np.sqrt(1 - 0.999**2)
        x[0] = rng.normal(size=SENSORS)
        x = lfilter([1.0], [1.0, -0.999], x, axis=0)
    if case == "degenerate":
        x[:, 5] = 3.0
        x[:, 7] = x[:, 6]
    score = x[:, 0] * x[:, 1] + x[:, 2]
    if case == "regimes":
        half = rows // 2
        score[half:] = x[half:, 2] * x[half:, 3] - x[half:, 0]
    y = (score > 0) ^ (rng.random(rows) < 0.1)
    return Line(x.astype(np.float32), y.astype(np.int64))


def negative(state: State, row: NDArray[np.float32]) -> bool:
    """Whether vᵀPv is below 0 for a row in any layer of any member that has a gain."""
    configuration, ensemble = state.configuration, Ensemble.of(state)
    activities = passed(configuration, ensemble, torch.tensor(row)).activities
    for member, activity in zip(ensemble.members, activities, strict=True):
        # A member without a gain has no blocks.
        for blocks, v in zip(member.gains, activity.inputs, strict=False):
            ext = torch.cat([v[0], torch.ones(1)])
            if len(blocks) == 1 and float(ext @ blocks[0] @ ext) < 0:
                return True
    return False


def soundness(state: State) -> tuple[float, float]:
    """The smallest eigenvalue of any P, and the largest difference between P and its transpose."""
    smallest, asymmetry = np.inf, 0.0
    for member in state.members:
        for blocks in member.gains:
            for block in blocks:
                p = block.astype(np.float64)
                if not np.isfinite(p).all():
                    return -np.inf, np.inf
                smallest = min(smallest, float(np.linalg.eigvalsh(p).min()))
                asymmetry = max(asymmetry, float(np.abs(p - np.swapaxes(p, -1, -2)).max()))
    return smallest, asymmetry


def run(given: tuple[str, int, int]) -> tuple[str, dict[str, Any]]:
    case, rows, seed = given
    torch.set_num_threads(1)
    x, y = line(case, rows, seed)
    ranges = tuple((float(a), float(b) + 1e-3) for a, b in zip(x.min(0), x.max(0), strict=True))
    kernel = KernelByState()
    state = kernel.initial(Configuration(ranges, 2, members(ENSEMBLE, (64,), seed)))
    state = state._replace(kernel="onnx")
    right = np.zeros(rows, bool)
    below, smallest, asymmetry = 0, np.inf, 0.0
    with torch.inference_mode():
        for at in range(rows):
            row = x[at : at + 1]
            if at % 10 == 0:
                below += negative(state, row)
            state, reply = kernel.apply(state, Labelled(row, y[at : at + 1]))
            assert reply is not None
            right[at] = reply.probabilities[0].argmax() == y[at]
            if (at + 1) % max(1, rows // PLACES) == 0:
                least, apart = soundness(state)
                smallest, asymmetry = min(smallest, least), max(asymmetry, apart)
    tenth = rows // 10
    # Of the same regime as the end.
    start = rows // 2 if case == "regimes" else 0
    first = right[start + tenth : start + 2 * tenth]
    by = [float(part.mean()) for part in np.array_split(right, 10)]
    return case, {
        "accuracy_last_over_first": float(right[-tenth:].mean() / first.mean()),
        "p_min_eigenvalue": smallest,
        "p_asymmetry": asymmetry,
        "negative_gain_steps": below,
        "accuracy_by_tenth": by,
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.longrun", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args(arguments)
    todo = [(case, given.rows, given.seed) for case in given.cases]
    found: dict[str, Any] = {"rows": given.rows}
    with multiprocessing.get_context("spawn").Pool(min(len(todo), os.cpu_count() or 1)) as pool:
        for case, figures in pool.imap_unordered(run, todo):
            for key, value in figures.items():
                found.setdefault(key, {})[case] = value
    write(found, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
