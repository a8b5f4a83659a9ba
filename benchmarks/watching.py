"""What watching for drift and scoring in the shadow cost: on against off, in one run.

    python -m benchmarks.watching --json out.json

Three learners as real processes, each with the same nine sensors: nothing on; drift on; drift, gate
and guard on. One client sends the same requests to them in turns, a slice to each, so that a noisy
machine is noisy for all; the figure is the ratio of requests per second, slice by slice.
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

import httpx
import numpy as np
import orjson
import torch

from service.hosting.process import ServerProcess

SENSORS = 9
REFERENCE_ROWS = 1000
VARIANTS = {
    "off": (0, 'promotion = "immediate"\nguard = "off"'),
    "drift": (REFERENCE_ROWS, 'promotion = "immediate"\nguard = "off"'),
    "drift_gate_guard": (REFERENCE_ROWS, 'promotion = "gate"\nguard = "rollback"'),
}

JSON = {"content-type": "application/json"}


def configuration(folder: Path, reference_rows: int, model: str) -> Path:
    sensors = "".join(
        f'\n[[models.features]]\nname = "s{i}"\nrange = [-8, 8]\n' for i in range(SENSORS)
    )
    path = folder / "apical.toml"
    path.write_text(
        f"[storage]\nstore = {json.dumps(str(folder / 'store'))}\n"
        f"log = {json.dumps(str(folder / 'log'))}\n"
        f"[drift]\nreference_rows = {reference_rows}\n"
        f'[[models]]\nname = "m"\nclasses = ["a", "b"]\nhidden = [64]\n{model}\n{sensors}'
    )
    return path


def bodies(rng: np.random.Generator, count: int, rows: int, labelled: bool) -> list[bytes]:
    """Requests of AR(1) rows whose label is the sign of two sensors' sum."""
    x = rng.normal(size=(count * rows, SENSORS))
    for i in range(1, len(x)):
        x[i] = 0.6 * x[i - 1] + 0.8 * x[i]
    made = []
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        body: dict[str, Any] = {
            "rows": [{f"s{i}": float(v) for i, v in enumerate(row)} for row in part]
        }
        if labelled:
            body["labels"] = ["a" if row[0] + row[1] > 0 else "b" for row in part]
        made.append(orjson.dumps(body))
    return made


def rate(client: httpx.Client, requests: list[bytes]) -> float:
    started = time.perf_counter()
    for body in requests:
        client.post("/v1/models/m/batches", content=body, headers=JSON).raise_for_status()
    return len(requests) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--slices", type=int, default=30)
    parser.add_argument("--requests", type=int, default=100, help="per slice")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        clients = {}
        for name, (rows, model) in VARIANTS.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = stack.enter_context(
                ServerProcess(
                    ["serve", "--config", str(configuration(folder, rows, model))],
                    folder / "log.txt",
                )
            )
            server.wait_ready()
            clients[name] = stack.enter_context(httpx.Client(base_url=server.url, timeout=30))
            rate(clients[name], bodies(rng, 2 * REFERENCE_ROWS // 20, 20, True))
        for kind, rows, labelled in (
            ("unlabelled_1", 1, False),
            ("unlabelled_32", 32, False),
            ("labelled_1", 1, True),
            ("labelled_32", 32, True),
        ):
            rates: dict[str, list[float]] = {name: [] for name in clients}
            for _ in range(given.slices):
                requests = bodies(rng, given.requests, rows, labelled)
                for name in rng.permutation(list(clients)):
                    rates[name].append(rate(clients[name], requests))
            found[kind] = {
                f"{name}_over_off": statistics.median(
                    a / b for a, b in zip(rates[name], rates["off"], strict=True)
                )
                for name in clients
                if name != "off"
            } | {"requests_per_s": rates}
    found["machine"] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpus": os.cpu_count(),
    }
    for kind, figures in found.items():
        if kind != "machine":
            shown = {k: round(v, 3) for k, v in figures.items() if k != "requests_per_s"}
            print(kind, shown)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
