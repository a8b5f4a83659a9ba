"""How close is a request to the least that a server does, and how far from MLServer?

    python -m benchmarks.latency --json out.json

A plain network 48-256-128-64-4, one step a request, behind a learner and a replica of one core;
wrk asks from the other. `ceiling` is a raw ASGI reply under the same server. MLServer 1.7.1, in an
environment of its own, serves the snapshot's graph: inline, and with its default of one worker.
Rounds of all variants take turns, each once the servers rest; each figure is the median of the
rounds. Learners and replicas count their requests, check ranges and watch for drift. Keys are
`<variant>.<rows>.<concurrency>.{rps,p50_ms,p99_ms,ratio_to_ceiling,ratio_to_unlabelled,
ratio_to_mlserver_inline,ratio_to_mlserver_default}`: ratios are of requests a second, of medians.
`fsync_ms` is what one takes where the log lies. `beside_learning` is the p99 of unlabelled requests
one by one, with and without labels coming at full rate beside them.
`default.*` is what `apical init` writes, on as many sensors. Needs wrk.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.latency import wrk
from benchmarks.latency.servers import (
    CLASSES,
    MODEL,
    PLAIN,
    SENSORS,
    apical,
    ceiling,
    configured,
    mlserver,
    quiet,
    teach,
    watch,
)
from benchmarks.output import write
from model_store.snapshots.store import SnapshotStore

ROWS, CONCURRENCY = (1, 32, 256), (1, 16, 64)
STREAM = 4096
"""Rows until they begin again: more than any window that drift is watched over."""

Form = Callable[[np.ndarray], bytes]


def bodies(form: Form, rows: int) -> list[bytes]:
    """A stream of rows, so many to a request."""
    x = np.random.default_rng(0).normal(size=(STREAM, SENSORS)).astype(np.float32)
    return [form(x[at : at + rows]) for at in range(0, STREAM, rows)]


def by_rows(x: np.ndarray, labels: bool = False) -> bytes:
    names = [f"sensor_{k}" for k in range(SENSORS)]
    body: dict[str, Any] = {
        "rows": [{n: round(float(v), 4) for n, v in zip(names, row, strict=True)} for row in x]
    }
    if labels:
        body["labels"] = [CLASSES[int(k)] for k in (x[:, 0] > 0) + 2 * (x[:, 1] > 0)]
    return json.dumps(body).encode()


def labelled(x: np.ndarray) -> bytes:
    return by_rows(x, labels=True)


def by_columns(x: np.ndarray) -> bytes:
    columns = {f"sensor_{k}": [round(float(v), 4) for v in x[:, k]] for k in range(SENSORS)}
    return json.dumps({"columns": columns}).encode()


def by_tensor(x: np.ndarray) -> bytes:
    data = [round(float(v), 4) for v in x.ravel()]
    tensor = {"name": "readings", "shape": list(x.shape), "datatype": "FP32", "data": data}
    return json.dumps({"inputs": [tensor]}).encode()


def fsync_ms(folder: Path) -> float:
    """Median of 50 of 4 KiB each."""
    spent = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fsync(file.fileno())
            spent.append(time.perf_counter() - began)
    return statistics.median(spent) * 1000


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--seconds", type=int, default=2, help="of one round of one variant")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--concurrency", type=int, nargs="+", default=list(CONCURRENCY))
    parser.add_argument("--without", nargs="*", default=[], help="variants to leave out")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="apical-") as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        variants = _started(folder, stack, set(given.without))
        found = _measured(variants, given, folder)
        found["fsync_ms"] = fsync_ms(folder)
        if "learner_labelled" in variants:
            found["beside_learning"] = _beside(variants, given, folder)
    found["versions"] = {
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
    }
    write(found, given.json)
    return 0


def _started(
    folder: Path, stack: contextlib.ExitStack, without: set[str]
) -> dict[str, tuple[str, Form]]:
    """Every server, and the variants: where to ask, and what."""
    found: dict[str, tuple[str, Form]] = {}
    question = f"/v1/models/{MODEL}/batches"
    found["ceiling"] = stack.enter_context(ceiling(folder)) + question, by_rows
    for prefix, model in (("", PLAIN.format(rows_per_step=0)), ("default_", "")):
        if ("plain" in without and not prefix) or ("default" in without and prefix):
            continue
        home = folder / (prefix or "plain")
        home.mkdir()
        path = configured(home, model)
        url = stack.enter_context(apical(["serve", "--config", str(path)], home / "learner.log"))
        watch(url)
        teach(url)
        found[f"{prefix}learner_unlabelled"] = url + question, by_rows
        found[f"{prefix}learner_labelled"] = url + question, labelled
        store = str(home / "store")
        command = ["replica", "--store", store]
        replica = stack.enter_context(apical(command, home / "replica.log"))
        found[f"{prefix}replica_json"] = replica + question, by_rows
        found[f"{prefix}replica_columns"] = replica + question, by_columns
        if prefix:
            continue
        graph = folder / "model.onnx"
        with contextlib.closing(SnapshotStore.open(store)) as snapshots:
            versions = snapshots.versions(MODEL)
            graph.write_bytes(snapshots.read(MODEL, versions[-1], "model.onnx"))
        for name, workers in (("mlserver_inline", 0), ("mlserver_default", None)):
            if name not in without:
                peer = stack.enter_context(mlserver(graph, folder / name, workers))
                found[name] = f"{peer}/v2/models/{MODEL}/infer", by_tensor
    return {name: where for name, where in found.items() if name not in without}


def _measured(
    variants: dict[str, tuple[str, Form]], given: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    rounds: dict[tuple[str, int, int], list[wrk.Round]] = {}
    asked = {
        (form, rows): bodies(form, rows) for _, form in variants.values() for rows in given.rows
    }
    for turn in range(given.rounds):
        for rows in given.rows:
            for concurrency in given.concurrency:
                for name, (url, form) in variants.items():
                    quiet()
                    one = wrk.start(url, asked[form, rows], concurrency, given.seconds, folder)
                    rounds.setdefault((name, rows, concurrency), []).append(wrk.ended(one))
        print(f"{turn + 1} of {given.rounds} rounds", file=sys.stderr)
    found: dict[str, Any] = {}
    for (name, rows, concurrency), each in rounds.items():
        figures = {
            key: statistics.median(getattr(one, key) for one in each) for key in wrk.Round._fields
        }
        found.setdefault(name, {}).setdefault(str(rows), {})[str(concurrency)] = figures
        figures["rounds"] = [list(one) for one in each]
    for name in variants:
        prefix = "default_" if name.startswith("default_") else ""
        peers = {
            "ceiling": "ceiling",
            "unlabelled": f"{prefix}learner_unlabelled",
            "mlserver_inline": "mlserver_inline",
            "mlserver_default": "mlserver_default",
        }
        for rows in map(str, given.rows):
            for concurrency in map(str, given.concurrency):
                mine = found[name][rows][concurrency]
                for suffix, peer in peers.items():
                    if peer in variants:
                        mine[f"ratio_to_{suffix}"] = (
                            mine["rps"] / found[peer][rows][concurrency]["rps"]
                        )
    return found


def _beside(
    variants: dict[str, tuple[str, Form]], given: argparse.Namespace, folder: Path
) -> dict[str, float]:
    url = variants["learner_unlabelled"][0]
    alone, beside = [], []
    asked, taught = bodies(by_rows, 1), bodies(labelled, 1)
    for _ in range(given.rounds):
        quiet()
        alone.append(wrk.ended(wrk.start(url, asked, 1, given.seconds, folder)).p99_ms)
        teaching = wrk.start(url, taught, 16, given.seconds + 1, folder)
        beside.append(wrk.ended(wrk.start(url, asked, 1, given.seconds, folder)).p99_ms)
        wrk.ended(teaching)
    p99 = {"alone_p99_ms": statistics.median(alone), "beside_p99_ms": statistics.median(beside)}
    return {**p99, "ratio": p99["beside_p99_ms"] / p99["alone_p99_ms"]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
