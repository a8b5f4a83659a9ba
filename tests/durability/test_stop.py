"""A process stops from every phase when it is told to."""

from __future__ import annotations

import shutil
import signal
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from clients import Client
from service.hosting.process import ServerProcess
from tests.durability.aftermath import MODEL, learning
from tests.line import posted, readings, submit, teach, wait_for
from tests.serving import IMMEDIATE, PRESS, press

EVENTS = 3000


def configured(folder: Path) -> list[str]:
    config = folder / "apical.toml"
    store, log = (repr(str(folder / name)) for name in ("store", "log"))
    config.write_text(PRESS.format(store=store, log=log, top="", model=IMMEDIATE))
    return ["serve", "--config", str(config)]


def test_a_stop_while_a_log_is_replayed_does_not_wait_for_its_end(tmp_path):
    with learning(press(tmp_path)) as learner:
        for first in range(0, EVENTS, 500):
            work = [posted(readings(s, 1), np.array([1]), None) for s in range(first, first + 500)]
            for future in [learner.post(each) for each in work]:
                future.result(60)
        born = tmp_path / "store/models" / MODEL / "snapshots"
    # Only the newborn is left: the whole log has to be replayed.
    for version in sorted(born.iterdir())[1:]:
        shutil.rmtree(version)
    server = ServerProcess(configured(tmp_path), tmp_path / "stderr")
    wait_for(lambda: httpx.get(f"{server.url}/v2/health/live").status_code == 200)
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(60)
    assert server.process.stdout is not None
    server.process.stdout.close()
    said = server.tail()
    assert "stopped while recovering" in said, said
    assert "model ready" not in said
    with learning(press(tmp_path)) as learner:
        assert learner.models[MODEL].published.seq == EVENTS


@pytest.mark.parametrize("signals", [1, 2])
def test_a_request_that_never_ends_keeps_no_process(tmp_path, signals):
    server = ServerProcess(configured(tmp_path), tmp_path / "stderr")
    server.wait_ready()
    with Client(server.url) as client:
        teach(client, 0, 3)
    at = urlsplit(server.url)
    with socket.create_connection((at.hostname, at.port)) as connection:
        connection.sendall(
            b"POST /v1/models/press/batches HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        time.sleep(0.3)
        for _ in range(signals):
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        server.process.wait(60)
        assert server.process.stdout is not None
        server.process.stdout.close()
    # Everything that was acknowledged is there, and the write side was let go of.
    with learning(press(tmp_path)) as learner:
        assert learner.models[MODEL].published.seq == 3
        submit(learner, posted(readings(1, 1), np.array([1]), None))
