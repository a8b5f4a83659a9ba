"""Does a line lose, repeat or reorder a batch while everything around it is killed?

    python -m benchmarks.outage --json out.json [--rows 50000]

A process puts labelled batches of 40 rows into a `clients.Spool` and waits until all are sent. The
server is killed and started again ten times, once it answers 503 to everything for 30 s, and the
line's process is killed three times and goes on behind what it put last. `batches_sent`: put;
`learned_once`, `learned_twice`, `lost`: by the events of the log; `out_of_order`: events whose
batch came before the one before it; `dead`: refused for good; `seconds`: in all.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import output
from benchmarks.configured import configured
from benchmarks.refusing import refusing
from clients import ApicalClientError, Client, Spool
from model_store.log.log import EventLog
from service.hosting.process import ServerProcess

MODEL, LINE, PACKED, SENSORS = "press", "L1", 40, 4
CLASSES = ["ok", "worn"]
SERVER_KILLS, LINE_KILLS, REFUSES_S = 10, 3, 30.0
RECIPE = 'hidden = [8]\npromotion = "immediate"\nguard = "off"\nsnapshot_every_rows = 5000'


def batch(index: int) -> tuple[dict[str, list[float]], list[str]]:
    """Columns and labels; the same for one index."""
    draw = random.Random(index)
    rows = [[round(draw.gauss(0, 1), 3) for _ in range(SENSORS)] for _ in range(PACKED)]
    columns = {f"sensor_{k}": [row[k] for row in rows] for k in range(SENSORS)}
    return columns, [CLASSES[int(sum(row[:2]) > 0)] for row in rows]


def line(spool: Path, url: str, count: int) -> int:
    """What the line's process does: put what was not put yet, and wait until it is sent."""
    with Spool(spool, url, MODEL, line=LINE, timeout_s=5) as to:
        last = to.last_batch_id
        for index in range(0 if last is None else int(last) + 1, count):
            columns, labels = batch(index)
            to.put(columns=columns, labels=labels, batch_id=f"{index:06d}")
        to.flush()
        return to.status().dead


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outage")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--refuses-s", type=float, default=REFUSES_S)
    parser.add_argument("--line", nargs=2, metavar=("SPOOL", "URL"), help="be the line's process")
    asked = parser.parse_args(arguments)
    count = -(-asked.rows // PACKED)
    if asked.line:
        return line(Path(asked.line[0]), asked.line[1], count)
    with tempfile.TemporaryDirectory() as name:
        found = _outages(Path(name), count, asked.refuses_s)
    output.write({"machine": output.machine(), **found}, asked.json)
    good = found["learned_once"] == count and not (
        found["lost"] or found["learned_twice"] or found["out_of_order"] or found["dead"]
    )
    return 0 if good else 1


def _outages(folder: Path, count: int, refuses_s: float) -> dict[str, Any]:
    config = configured(folder, MODEL, CLASSES, SENSORS, RECIPE, reach=10)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "benchmarks.outage", "--rows", str(count * PACKED)]
    command += ["--line", str(folder / "line.spool"), url]
    started = time.monotonic()
    random.seed(1)
    kills = [("server", k * count // (SERVER_KILLS + 1)) for k in range(1, SERVER_KILLS + 1)]
    kills += [("line", int((k + 0.5) * count / LINE_KILLS)) for k in range(LINE_KILLS)]

    def serve() -> ServerProcess:
        return ServerProcess(["serve", "--config", str(config)], folder / "server.log", port=port)

    server, process, done = serve(), subprocess.Popen(command), Counter[str]()
    try:
        for who, at in sorted(kills, key=lambda kill: kill[1]):
            _wait(url, at, process)
            done[who] += 1
            if who == "line":
                process.kill()
                process.wait()
                process = subprocess.Popen(command)
                continue
            server.kill()
            if done[who] == SERVER_KILLS // 2:
                with refusing(port):
                    time.sleep(refuses_s)
            server = serve()
        dead = process.wait(600)
    finally:
        with contextlib.suppress(OSError):
            process.kill()
        process.wait()
        server.stop()
    return {
        "server_kills": done["server"],
        "line_kills": done["line"],
        "refused_s": refuses_s,
        "rows": count * PACKED,
        "batches_sent": count,
        "dead": dead,
        **_learned(folder / "log", count),
        "seconds": round(time.monotonic() - started, 1),
    }


def _wait(url: str, seq: int, process: subprocess.Popen[bytes]) -> None:
    """Until so many events are learned; raises RuntimeError where the line has ended before."""
    with Client(url, timeout_s=2) as client:
        while True:
            with contextlib.suppress(ApicalClientError):
                if client.model(MODEL).seq >= seq:
                    return
            if process.poll() is not None:
                raise RuntimeError(f"the line ended with {process.returncode} before event {seq}")
            time.sleep(0.01)


def _learned(log: Path, count: int) -> dict[str, int]:
    with EventLog.open(log) as events:
        ids = [int(event.batch_id or -1) for event in events.events(MODEL)]
    often = Counter(ids)
    return {
        "learned_once": sum(often[index] == 1 for index in range(count)),
        "learned_twice": sum(n > 1 for n in often.values()),
        "lost": sum(index not in often for index in range(count)),
        "out_of_order": sum(after <= before for before, after in itertools.pairwise(ids)),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
