"""The Node-RED flow, run by Node-RED itself between mosquitto and a learner: `make test-node-red`.

Between flow and learner stands what breaks: answers are lost, requests refused, processes killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.clients.test_mqtt import MOSQUITTO, broker, line, port  # noqa: F401  # fixtures
from tests.clients.test_node_red_flow import FLOW
from tests.line import wait_for
from tests.serving import IMMEDIATE, label, press, row, serving

RED = Path(os.environ["APICAL_NPM"]) / "node_modules/node-red/red.js"

SETTINGS = """module.exports = {
  httpAdminRoot: false, httpNodeRoot: false, uiPort: 0, uiHost: "127.0.0.1",
  contextStorage: {default: {module: "localfilesystem", config: {flushInterval: 1}}},
  logging: {console: {level: "info"}},
};
"""


class Between:
    """A proxy to a learner: of three requests the first is forwarded and its answer lost, the
    second refused, the third passed through."""

    def __init__(self, url: str) -> None:
        between = self
        self.asked = 0
        self.away = False

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                between.asked += 1
                turn = between.asked % 3
                if between.away or turn == 2:
                    self.send_response(503)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                kind = {"Content-Type": "application/json"}
                answer = httpx.post(f"{url}{self.path}", content=body, headers=kind)
                if turn == 1:
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(answer.status_code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *arguments):
                pass

            def finish(self):
                with contextlib.suppress(OSError, ValueError):
                    super().finish()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class NodeRed:
    """Node-RED without its editor, running the flow with values of its own."""

    def __init__(self, folder: Path, **values: str) -> None:
        folder.mkdir(exist_ok=True)
        flow = json.loads(FLOW.read_text("utf-8"))
        for known in flow[0]["env"]:
            known["value"] = values.get(known["name"], known["value"])
        (folder / "settings.js").write_text(SETTINGS)
        (folder / "flow.json").write_text(json.dumps(flow))
        self.log = folder / "log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["node", str(RED), "--userDir", str(folder), "--settings",
                 str(folder / "settings.js"), str(folder / "flow.json")],
                stdout=log,
                stderr=log,
            )  # fmt: skip

    def __enter__(self):
        wait_for(lambda: "Connected to broker" in self.log.read_text())
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_rows_through_it_teach_once_and_predictions_come_out(tmp_path, broker, line):  # noqa: F811
    client, got = line

    def publish(body):
        said = body if isinstance(body, str) else json.dumps(body)
        client.publish("in/rows", said, qos=1).wait_for_publish(10)

    def predicted():
        return [json.loads(p) for topic, p in got if topic == "out/press"]

    def refused():
        return [json.loads(p) for topic, p in got if topic == "out/press/refused"]

    def events(running):
        return [(e.kind, e.batch_id, e.line) for e in running.learner.events.events("press")]

    with serving(press(tmp_path, model=IMMEDIATE)) as running, Between(running.url) as between:
        values = {
            "APICAL_URL": between.url, "APICAL_BROKER_PORT": str(broker), "APICAL_IN": "in/rows",
            "APICAL_OUT": "out/press", "APICAL_LINE": "L3",
        }  # fmt: skip
        with NodeRed(tmp_path / "red", **values):
            for k in range(20):
                publish({**row(k), "label": label(k), "id": f"part-{k}"})
            publish({**row(3), "label": label(3), "id": "part-3"})
            publish({**row(20), "id": 20, "time": "2026-03-01T03:12:00Z", "line": "L9"})
            publish({"id": 20, "label": label(20)})
            publish({**row(21), "pressure": 1.0, "id": "odd"})
            publish("no JSON")
            publish({"id": "nobody", "label": "ok"})
            # Twenty-two answers to rows, that of part-3 a second time, one to a late label.
            wait_for(lambda: len(predicted()) == 23 and len(refused()) == 3, 120)
            taught = [("batch", f"part-{k}", "L3") for k in range(20)] + [("late", "20", "L9")]
            assert events(running) == taught
            said = predicted()
            assert [s["id"] for s in said] == [
                *(f"part-{k}" for k in range(20)), "part-3", "20", "20",
            ]  # fmt: skip
            assert said[20] == said[3]
            assert set(said[0]["probabilities"]) == {"ok", "worn"}
            assert said[22]["outcome"] == "learned"
            why = {r["id"]: r["why"] for r in refused()}
            assert "pressure" in why["odd"]
            assert "expected JSON" in why[None]
            assert "the label taught nothing: unknown" in why["nobody"]
            # Rows that wait outlive the process, once its context is on the disk.
            between.away = True
            for k in range(30, 35):
                publish({**row(k), "label": label(k), "id": f"part-{k}"})
            wait_for(lambda: b"part-34" in b"".join(
                p.read_bytes() for p in (tmp_path / "red/context").rglob("*.json")
            ))  # fmt: skip
        between.away = False
        # While it is away, the broker keeps what comes.
        publish({**row(35), "label": label(35), "id": "part-35"})
        with NodeRed(tmp_path / "red", **values):
            wait_for(lambda: len(predicted()) == 29, 120)
            time.sleep(0.5)
            taught += [("batch", f"part-{k}", "L3") for k in range(30, 36)]
            assert events(running) == taught
            assert len(predicted()) == 29
            assert len(refused()) == 3
        assert between.asked > 60
