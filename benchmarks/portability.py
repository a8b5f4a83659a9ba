"""How far apart do runtimes drift that learn the same events?

    python -m benchmarks.portability --json out.json [--npm FOLDER]

A learner with `kernel = "onnx"` learns a made stream, one row a step, a hundred a request. From its
first snapshot, which has learned nothing, others go through the export of its log:
`clients/device.py` (the same onnxruntime by itself), `clients/device.mjs` (onnxruntime-web in
WebAssembly, where ``--npm`` says in which folder npm installed it) and torch. Keys are
`<recipe>.<steps>.<who>.{difference,equal}`: the largest absolute difference of any number of the
state, and the share of the last 1,000 rows before that of which both states say the same class.
`one_step` is the largest difference of torch after one step from the learner's own state, over some
snapshots of its log.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.configured import configured
from benchmarks.output import write
from benchmarks.streams.data import Stream, kiln_regimes
from clients.device import COMPARED_ROWS, audit
from model_store.log.log import EventLog
from model_store.snapshots.store import SnapshotStore
from service.bootstrap.learner import open_learner
from service.config.file import load
from service.history.exported import write_lines
from service.history.lessons import event_of
from service.kernels.by_state import KernelByState
from service.learner.requests import Posted, TakeSnapshot
from service.schema import Readings
from service.state import Labelled, State, arrays
from service.state.file import from_bytes

MODEL = "kiln"
REQUEST = 100
STEPS = (500, 5_000, 50_000)
RECIPES = {"plain": "members = ['plain']\noptimiser = 'sgd'\n", "default": ""}
DEVICE = Path(__file__).parent.parent / "clients" / "device.mjs"

UNWATCHED = 'promotion = "immediate"\nguard = "off"\n'


def learned(folder: Path, recipe: str, stream: Stream, steps: tuple[int, ...]) -> list[int]:
    """Let a learner of ``folder`` learn the stream; its snapshots after so many steps."""
    path = configured(folder, MODEL, ("good", "bad"), stream.x.shape[1], UNWATCHED + recipe, 20)
    learner = open_learner(load(path))
    versions = []
    try:
        learner.start()
        for first in range(0, max(steps), REQUEST):
            if first in steps:
                versions.append(_snapshot(learner))
            x, y = stream.x[first : first + REQUEST], stream.y[first : first + REQUEST]
            learner.post(Posted(MODEL, Readings(x, x, 0, 0), y, 1.7e9 + first)).result()
        versions.append(_snapshot(learner))
    finally:
        learner.close()
    return versions


def _snapshot(learner: Any) -> int:
    work = TakeSnapshot(MODEL, "demand", "benchmark", "to compare")
    return int(learner.take_snapshot(work).result()["version"])


def by_node(npm: Path, *arguments: Path) -> dict[str, Any]:
    """What `device.mjs` says, with the onnxruntime of a folder."""
    command = ["node", str(DEVICE), *map(str, arguments)]
    done = subprocess.run(command, cwd=npm, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(recipe: str, stream: Stream, steps: tuple[int, ...], npm: Path | None) -> Any:
    """The figures of one recipe."""
    kernel = KernelByState()
    with tempfile.TemporaryDirectory(prefix="apical-") as scratch:
        folder = Path(scratch)
        versions = learned(folder, recipe, stream, steps)
        lines, found = folder / "events.jsonl", dict[str, Any]()
        with (
            contextlib.closing(SnapshotStore.open(str(folder / "store"))) as store,
            EventLog.open(folder / "log") as events,
        ):
            write_lines(lines, events.events(MODEL))
            states = {v: _state(store, v) for v in (1, *versions)}
            torch = states[1]._replace(kernel="torch")
            for count, version in zip(steps, versions, strict=True):
                for record in events.events(MODEL, torch.seq, states[version].seq):
                    torch, _ = kernel.apply(torch, event_of(record))
                last = stream.x[max(0, count - COMPARED_ROWS) : count]
                places = [folder / f"store/models/{MODEL}/snapshots/{v:08d}" for v in (1, version)]
                figures = {
                    "onnxruntime": _two(audit(places[0], lines, places[1])),
                    "torch": {
                        "difference": _apart(torch, states[version]),
                        "equal": _equal(kernel, torch, states[version], last),
                    },
                }
                if npm is not None:
                    figures["onnxruntime_web"] = _two(by_node(npm, places[0], lines, places[1]))
                found[str(count)] = figures
            found["one_step"] = max(
                _one_step(kernel, states[version], stream) for version in versions
            )
        return found


def _state(store: SnapshotStore, version: int) -> State:
    return from_bytes(store.read(MODEL, version, "state.safetensors"))


def _two(said: dict[str, Any]) -> dict[str, float]:
    return {key: said[key] for key in ("difference", "equal")}


def _apart(a: State, b: State) -> float:
    theirs = arrays(b)
    return max(float(np.abs(v - theirs[name]).max(initial=0)) for name, v in arrays(a).items())


def _equal(kernel: KernelByState, a: State, b: State, rows: np.ndarray) -> float:
    said = [kernel.forward(state, rows).argmax(1) for state in (a, b)]
    return float((said[0] == said[1]).mean())


def _one_step(kernel: KernelByState, state: State, stream: Stream) -> float:
    """Over ten rows, each from the same state."""
    most = 0.0
    for at in range(10):
        lesson = Labelled(stream.x[at : at + 1], stream.y[at : at + 1])
        ends = [kernel.apply(state._replace(kernel=k), lesson)[0] for k in ("torch", "onnx")]
        most = max(most, _apart(*ends))
    return most


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.portability", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--npm", type=Path, help="where npm installed onnxruntime-web")
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS))
    given = parser.parse_args(arguments)
    steps = tuple(sorted(given.steps))
    stream = kiln_regimes(0, max(steps))
    write({n: measure(r, stream, steps, given.npm) for n, r in RECIPES.items()}, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
