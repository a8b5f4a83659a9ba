"""The OPC UA bridge between asyncua's server and a learner."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest
from asyncua import Server, ua

from service.history.lessons import Lesson
from tests.categories.alloys import casting
from tests.line import wait_for
from tests.ports import free_port
from tests.serving import press, serving

AT = datetime(2026, 3, 1, 3, 12, tzinfo=UTC)


class Plant:
    """An OPC UA server in a thread: two sensors, a label and a place for predictions."""

    def __init__(self, port):
        self.url = f"opc.tcp://127.0.0.1:{port}/plant/"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.do(self._start())

    def do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self):
        self._server = Server()
        await self._server.init()
        self._server.set_endpoint(self.url)
        space = await self._server.register_namespace("urn:plant")
        objects = self._server.nodes.objects
        self.nodes = {}
        for name, value in (("temp", 70.0), ("flow", 2.0), ("state", ""), ("said", "")):
            node = await objects.add_variable(ua.NodeId(f"Press.{name}", space), name, value)
            await node.set_writable()
            self.nodes[name] = node
        await self._server.start()

    def set(self, name, value, status=ua.StatusCodes.Good, at=AT):
        variant = ua.Variant(value)
        code = ua.StatusCode(status)
        self.do(self.nodes[name].write_value(ua.DataValue(variant, code, at.replace(tzinfo=None))))

    def get(self, name):
        return self.do(self.nodes[name].read_value())

    def close(self):
        self.do(self._server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextlib.contextmanager
def plant(port):
    made = Plant(port)
    try:
        yield made
    finally:
        made.close()


CONFIG = """
label = "ns=2;s=Press.state"
prediction = "ns=2;s=Press.said"
[server]
endpoint = "{endpoint}"
period_s = 0.1
[learner]
url = "{url}"
model = "press"
line = "L1"
spool = "{folder}/opcua.spool"
[nodes]
temp = "ns=2;s=Press.temp"
flow = "ns=2;s=Press.flow"
"""


@contextlib.contextmanager
def bridge(tmp_path, endpoint, url, config=CONFIG):
    path = tmp_path / "opcua.toml"
    path.write_text(config.format(endpoint=endpoint, url=url, folder=tmp_path))
    with (tmp_path / "bridge.log").open("ab") as log:
        command = [sys.executable, "-m", "clients.bridges.opcua", str(path)]
        process = subprocess.Popen(command, stderr=log, env={**os.environ})
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(30) == 0


@pytest.fixture
def port():
    return free_port()


def lessons(running):
    events = list(running.learner.events.events("press"))
    return [(e, Lesson.from_bytes(e.payload)) for e in events]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_values_teach_with_their_time_and_bad_ones_are_missing(tmp_path, port):
    with serving(press(tmp_path / "server")) as running, plant(port) as line:
        with bridge(tmp_path, line.url, running.url):
            # Unlabelled rows are predicted, and the prediction is written back.
            wait_for(lambda: line.get("said") in ("ok", "worn"))
            assert running.client.model("press").seq == 0
            line.set("flow", 2.0)
            line.set("temp", 80.5)
            line.set("state", "worn")
            wait_for(lambda: len(lessons(running)) >= 3)
            line.set("flow", 5.0, ua.StatusCodes.BadSensorFailure, AT)
            wait_for(lambda: any(l.rows[0, 1] != l.rows[0, 1] for _, l in lessons(running)))
            line.set("flow", 6.0, ua.StatusCodes.UncertainLastUsableValue)
            line.set("temp", 81.0)
            wait_for(lambda: any(l.rows[0, 0] == 81 for _, l in lessons(running)))
        found = lessons(running)
    event, lesson = found[0]
    assert event.line == "L1"
    assert event.observed_at == pytest.approx(AT.timestamp(), abs=1)
    assert lesson.rows.tolist() == [[80.5, 2.0]]
    # Nothing that a bad or an uncertain status comes with is ever read.
    assert {float(l.rows[0, 1]) for _, l in found if l.rows[0, 1] == l.rows[0, 1]} == {2.0}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_server_that_comes_later_is_found(tmp_path, port, monkeypatch):
    with serving(press(tmp_path / "server")) as running:
        endpoint = f"opc.tcp://127.0.0.1:{port}/plant/"
        with bridge(tmp_path, endpoint, running.url):
            wait_for(lambda: "no values" in (tmp_path / "bridge.log").read_text())
            with plant(port) as line:
                line.set("state", "ok")
                wait_for(lambda: len(lessons(running)) >= 2)


CAST = """
texts = ["alloy"]
[server]
endpoint = "{endpoint}"
period_s = 0.1
[learner]
url = "{url}"
model = "cast"
spool = "{folder}/opcua.spool"
[nodes]
temp = "ns=2;s=Press.temp"
alloy = "ns=2;s=Press.state"
"""


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_category_is_read_as_text(tmp_path, port):
    def rows():
        return [r for (r,) in seen]

    with serving(casting(tmp_path / "server")) as running, plant(port) as line:
        seen = []
        post = running.learner.post
        running.learner.post = lambda work: (seen.append(work.readings.raw.tolist()), post(work))[1]
        with bridge(tmp_path, line.url, running.url, CAST):
            line.set("state", "鋼")
            wait_for(lambda: any(r[1] == 2 for r in rows()))
            line.set("state", "AlSi9", ua.StatusCodes.BadSensorFailure)
            wait_for(lambda: rows()[-1][1] != rows()[-1][1])
            line.set("state", "Cu")
            wait_for(lambda: rows()[-1][1] == -1)
    assert {r[1] for r in rows() if r[1] == r[1]} == {2, -1}


def test_a_configuration_that_is_wrong_is_told(tmp_path):
    path = tmp_path / "opcua.toml"
    path.write_text('[server]\nendpont = "x"\n[learner]\nmodel = "press"\n[nodes]\n')
    done = subprocess.run(
        [sys.executable, "-m", "clients.bridges.opcua", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 1
    for said in ("server.endpoint: Field required", "server.endpont: Extra", "nodes: Dictionary"):
        assert said in done.stderr
