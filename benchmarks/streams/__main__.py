"""Single-pass accuracy of the learner beside backpropagation and River, on the same rows.

    python -m benchmarks.streams --json out.json [--quick]

Every method predicts a row before it learns it, one row a request, one setting for all streams.
Our settings, and the step size of tuned backpropagation, were chosen on the streams of seeds 100 to
102; the figures are of seeds 0 to 2. `backprop_same_aids` is the default with Θ := W after every
step (that this is autograd's gradient is proved in tests/dll/test_oracle.py), weight decay and all
else equal; so the code, the gain and the mixture bring the lead, and the local rule gives up
nothing.
`with_rehearsal` and `backprop_with_rehearsal` are the same pair with one more member.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.output import write
from benchmarks.streams.data import BLOCKS, PUBLIC, load
from benchmarks.streams.passes import METHODS, Pass, run, tasks
from benchmarks.streams.summary import summary, table


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=10**9, help="at most so many of each stream")
    parser.add_argument("--streams", nargs="+", default=[*PUBLIC, *BLOCKS])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--folder", type=Path, help="keep the streams here; default: a scratch one")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    given = parser.parse_args(arguments)
    todo = tasks(given.methods, given.streams, given.seeds, given.rows)
    # Forests first: nobody waits for one alone at the end.
    todo.sort(key=lambda t: t.method != "arf")
    passes: list[Pass] = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        multiprocessing.get_context("spawn").Pool(given.processes) as pool,
    ):
        folder = given.folder or Path(scratch)
        drawn = [(s, k, folder) for s in given.streams for k in given.seeds]
        pool.starmap(load, drawn, chunksize=1)
        placed = [task._replace(folder=folder) for task in todo]
        for done in pool.imap_unordered(run, placed):
            passes.append(done)
            if sys.stderr.isatty() or len(passes) % 100 == 0:
                print(f"{len(passes)} of {len(todo)} passes", file=sys.stderr)
    found = summary(passes, given.streams, given.methods)
    found["seeds"] = given.seeds
    found["versions"] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "river": version("river"),
    }
    print(table(found, given.methods))
    write(found, given.json, hide=("details", "streams"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
