"""Durable before it is acknowledged: the system calls of a real server, in their order."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.durability.aftermath import MODEL
from tests.serving import IMMEDIATE, PRESS, label, row

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

CALLS = "pwrite64,write,writev,sendto,sendmsg,fsync,fdatasync"
WAL = "events.sqlite3-wal>"
RESUMED = re.compile(r"<\.\.\. (\w+) resumed>")


@contextlib.contextmanager
def traced_server(folder: Path) -> Iterator[str]:
    """A server under strace, its trace in ``folder / "trace"``; its address."""
    config = folder / "apical.toml"
    config.write_text(
        PRESS.format(
            store=repr(str(folder / "store")),
            log=repr(str(folder / "log")),
            top="",
            model=IMMEDIATE,
        )
    )
    command = ["strace", "-f", "-y", "-s", "64", "-e", f"trace={CALLS}", "-e", "signal=none"]
    command += ["-o", str(folder / "trace"), sys.executable, "-m", "service.cli", "serve"]
    command += ["--config", str(config), "--port", "0"]
    with (folder / "server.log").open("wb") as errors:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line.startswith("listening on "):
            said = (folder / "server.log").read_text()
            if "ptrace" in said.lower():
                pytest.skip(f"strace cannot trace here: {said[:200]}")
            raise AssertionError(said)
        yield line.split()[-1]
    finally:
        # strace lets no signal through that is sent to itself.
        for child in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGTERM)
        server.wait(60)
        if server.stdout is not None:
            server.stdout.close()


def steps(trace: str) -> list[str]:
    """The trace as ``write``, ``sync`` (of the -wal, when it returned) and ``reply``."""
    found, syncing = [], set()
    for line in trace.splitlines():
        pid, _, call = line.partition(" ")
        resumed = RESUMED.search(call)
        if resumed is not None:
            if pid in syncing and resumed[1] in ("fsync", "fdatasync"):
                syncing.discard(pid)
                assert call.rstrip().endswith("= 0"), line
                found.append("sync")
        elif WAL in call:
            if "sync(" not in call:
                found.append("write")
            elif "<unfinished" in call:
                syncing.add(pid)
            else:
                assert call.rstrip().endswith("= 0"), line
                found.append("sync")
        elif "HTTP/1.1 " in call:
            # Where it begins: bytes may reach the line before the call returns.
            found.append("reply")
    return found


def test_what_is_acknowledged_was_written_and_synced_before_the_reply_is_sent(tmp_path):
    batches, labels = f"/v1/models/{MODEL}/batches", f"/v1/models/{MODEL}/labels"
    durable = []
    for index in range(5):
        batch = {"rows": [row(index)], "batch_id": f"b{index}"}
        durable += [
            (batches, {"rows": [row(index)], "labels": [label(index)]}),
            (batches, batch),
            (labels, {"batch_id": f"b{index}", "labels": [label(index)]}),
        ]
    with (
        traced_server(tmp_path) as url,
        httpx.Client(base_url=url, timeout=60, trust_env=False) as http,
    ):
        while http.get("/v2/health/ready").status_code != 200:
            pass
        # A reply that waits for nothing marks where the durable ones begin, and where they end.
        http.post(batches, json={"rows": [row(0)]})
        for path, body in durable:
            assert http.post(path, json=body).status_code == 200
        for _ in range(2):
            assert http.post(batches, json={"rows": [row(0)]}).status_code == 200
    before_each = " ".join(steps((tmp_path / "trace").read_text())).split("reply")
    # The last piece is the stop; before it come the two replies that nothing was written for.
    assert [piece.split() for piece in before_each[-3:-1]] == [[], []]
    taught = before_each[-3 - len(durable) : -3]
    assert len(taught) == len(durable)
    # The first commit of a run makes the -wal anew, and syncs its header by itself.
    assert re.fullmatch(r" ((write )+sync )+", taught[0]), taught[0]
    for piece in taught[1:]:
        assert re.fullmatch(r" (write )+sync ", piece), f"before a reply: {piece!r}"
