"""The servers that are measured, each a process pinned to one core."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.configured import configured as toml
from benchmarks.peers.environment import python
from clients import Client
from service.hosting.process import ServerProcess

SENSORS = 48
CLASSES = tuple(f"c{k}" for k in range(4))
MODEL = "line"
SERVERS_CORE, CLIENT_CORE = 0, 1
READY_S = 120.0
QUIET_S = 120.0
LOOK_S = 0.2

PLAIN = """members = ["plain"]
hidden = [256, 128, 64]
optimiser = "sgd"
rows_per_step = {rows_per_step}
"""


def configured(folder: Path, model: str) -> Path:
    return toml(folder, MODEL, CLASSES, SENSORS, model)


def pinned(pid: int) -> None:
    """Every thread of a process onto the servers' core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), {SERVERS_CORE})


@contextlib.contextmanager
def apical(arguments: list[str], log: Path) -> Iterator[str]:
    # A round may end while much is waiting to be learned: it is left, not drained.
    server = ServerProcess(arguments, log)
    try:
        server.wait_ready()
        pinned(server.process.pid)
        yield server.url
    finally:
        server.kill()


def watch(url: str) -> None:
    """Unlabelled rows until drift is watched: the next snapshot's readers watch it too."""
    rng = np.random.default_rng(1)
    deadline = time.monotonic() + READY_S
    with Client(url) as client:
        while not client.ask(MODEL, "drift")["watched"]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{url}: no drift reference: {client.ask(MODEL, 'drift')}")
            x = rng.normal(size=(500, SENSORS)).round(4)
            client.predict(MODEL, columns={f"sensor_{k}": x[:, k].tolist() for k in range(SENSORS)})


def teach(url: str, rows: int = 500) -> None:
    """So many labelled rows, then a snapshot that is the champion."""
    rng = np.random.default_rng(0)
    with Client(url) as client:
        for _ in range(0, rows, 50):
            x = rng.normal(size=(50, SENSORS)).round(4)
            y = [CLASSES[int(k)] for k in (x[:, 0] > 0) + 2 * (x[:, 1] > 0)]
            columns = {f"sensor_{k}": x[:, k].tolist() for k in range(SENSORS)}
            client.learn(MODEL, labels=y, columns=columns)
        version = client.snapshot(MODEL).version
        client.verb(MODEL, "promote", version=version, reason="to be measured")


@contextlib.contextmanager
def program(command: list[str], ready: str, log: Path, **more: Any) -> Iterator[None]:
    """A peer, from its start until it answers ``ready``."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, **more)
    try:
        deadline = time.monotonic() + READY_S
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(ready, timeout=1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command}: not ready; {log.read_text()[-2000:]}")
            time.sleep(0.1)
        for pid in [process.pid, *_children(process.pid)]:
            pinned(pid)
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        if process.poll() is None:
            process.kill()
            process.wait()


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_children(int(child))]
    return found


def quiet() -> None:
    """Return once the processes started here rest.

    A round of labelled requests may leave a thousand rows waiting to be learned, and the next
    round, of another server on the same core, would be measured beside that.
    """
    deadline = time.monotonic() + QUIET_S
    before = _busy_s()
    while time.monotonic() < deadline:
        time.sleep(LOOK_S)
        now = _busy_s()
        if now - before < LOOK_S / 5:
            return
        before = now
    raise RuntimeError(f"the servers are still at work after {QUIET_S:.0f} s")


def _busy_s() -> float:
    """Of processor time that the processes started here have had."""
    ticks = 0
    for pid in _children(os.getpid()):
        # One that ends meanwhile has had its time.
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def ports(count: int) -> list[int]:
    """So many free ones."""
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in taken]


@contextlib.contextmanager
def ceiling(folder: Path) -> Iterator[str]:
    (port,) = ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "benchmarks.latency.ceiling", str(port)]
    with program(command, url, folder / "ceiling.log"):
        yield url


@contextlib.contextmanager
def mlserver(graph: Path, folder: Path, workers: int | None) -> Iterator[str]:
    """MLServer 1.7.1 with the graph; ``workers`` 0 answers inline, None is its default."""
    folder.mkdir()
    http, grpc, metrics = ports(3)
    settings: dict[str, Any] = {
        "host": "127.0.0.1",
        "http_port": http,
        "grpc_port": grpc,
        "metrics_port": metrics,
    }
    if workers is not None:
        settings["parallel_workers"] = workers
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(
        json.dumps(
            {
                "name": MODEL,
                "implementation": "mlserver_runtime.Graph",
                "parameters": {"uri": str(graph)},
            }
        )
    )
    program_ = str(python("mlserver").with_name("mlserver"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    ready = f"http://127.0.0.1:{http}/v2/models/{MODEL}/ready"
    with program(
        [program_, "start", str(folder)],
        ready,
        folder / "log",
        env=environment,
        cwd=folder,
    ):
        yield f"http://127.0.0.1:{http}"
