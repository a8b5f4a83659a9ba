"""The MQTT bridge between Debian's mosquitto and a learner; skipped where there is no mosquitto."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.categories.alloys import casting
from tests.line import wait_for
from tests.ports import deaf_port, free_port
from tests.serving import label, press, row, serving

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def settings():
    """More lines of the broker's configuration."""
    return ""


@pytest.fixture
def broker(tmp_path, port, settings):
    """A broker's port; it keeps what comes for a session that is away."""
    config = tmp_path / "mosquitto.conf"
    kept = "allow_anonymous true\nmax_queued_messages 0\n"
    config.write_text(f"listener {port} 127.0.0.1\n{kept}{settings}")
    log = (tmp_path / "mosquitto.log").open("wb")
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stdout=log, stderr=log)

    def listens():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for(listens)
    yield port
    process.terminate()
    process.wait()
    log.close()


@pytest.fixture
def line(broker):
    """A client of the broker, connected, and what is published on ``out/#``."""
    got = []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda c, d, message: got.append((message.topic, message.payload))
    client.connect("127.0.0.1", broker)
    client.subscribe("out/#", qos=1)
    client.loop_start()
    yield client, got
    client.disconnect()
    client.loop_stop()


@pytest.fixture
def running(tmp_path):
    with serving(press(tmp_path / "server")) as started:
        yield started


CONFIG = """
[broker]
port = {port}
[readings]
topic = "in/#"
{readings}
[learner]
url = "{url}"
model = "press"
line = "L1"
spool = "{folder}/mqtt.spool"
[predictions]
topic = "out/press"
"""


def configured(tmp_path, port, url, readings=""):
    path = tmp_path / "mqtt.toml"
    path.write_text(CONFIG.format(port=port, url=url, folder=tmp_path, readings=readings))
    return path


class Bridge:
    """The bridge as a process of its own."""

    def __init__(self, path, log):
        self._log = log
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "clients.bridges.mqtt", str(path)], stderr=errors
            )

    def __enter__(self):
        wait_for(lambda: "subscribed to in/#" in self._log.read_text())
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)
        self._log.write_text("")


def publish(client, payload, topic="in/press"):
    body = payload if isinstance(payload, str | bytes) else json.dumps(payload)
    client.publish(topic, body, qos=1).wait_for_publish(10)


def events(running):
    return list(running.learner.events.events("press"))


def test_rows_teach_in_order_and_predictions_come_back(tmp_path, broker, line, running):
    client, got = line
    path = configured(tmp_path, broker, running.url)
    with Bridge(path, tmp_path / "bridge.log"):
        for k in range(30):
            at = f"2026-03-01T00:00:{k:02d}Z"
            publish(client, {**row(k), "label": label(k), "time": at, "id": f"m{k:02d}"})
        publish(client, {**row(1), "id": "later"})
        publish(client, {"id": "later", "label": label(1)})
        for junk in ("{", "[1]", '{"label": "ok"}', '{"temp": "hot"}', b"\xff"):
            publish(client, junk)
        publish(client, {"temp": None, "flow": 99, "label": "ok", "id": "last"})
        wait_for(lambda: len(got) == 32)
    found = events(running)
    assert [e.batch_id for e in found] == [*(f"m{k:02d}" for k in range(30)), "later", "last"]
    assert {e.line for e in found} == {"L1"}
    assert found[5].observed_at - found[0].observed_at == 5
    first, last = (json.loads(payload) for _, payload in (got[0], got[-1]))
    assert got[0][0] == "out/press"
    assert first["id"] == "m00"
    assert first["learned"] is True
    assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert last["replaced"] == {"missing": {"temp": 1}, "out_of_range": {"flow": 1}}


def test_a_category_is_text_in_rows_and_in_topics(tmp_path, broker, line):
    client, got = line
    with serving(casting(tmp_path / "cast")) as learner:
        path = configured(tmp_path, broker, learner.url)
        path.write_text(path.read_text().replace('model = "press"', 'model = "cast"'))
        with Bridge(path, tmp_path / "bridge.log"):
            publish(client, {"temp": 700, "alloy": "鋼", "pressure": 1, "label": "ok"})
            publish(client, {"temp": 700, "alloy": "Cu", "pressure": 1, "label": "ok"})
            wait_for(lambda: len(got) == 2)
        known, unknown = (json.loads(payload) for _, payload in got)
        assert "replaced" not in known
        assert unknown["replaced"] == {"out_of_range": {"alloy": 1}}
        more = 'layout = "sensors"\nperiod_s = 0.1\ntexts = ["alloy"]'
        path = configured(tmp_path, broker, learner.url, more)
        path.write_text(path.read_text().replace('model = "press"', 'model = "cast"'))
        with Bridge(path, tmp_path / "bridge.log"):
            for name, said in (("temp", "700"), ("alloy", "鋼"), ("pressure", "low")):
                publish(client, said, f"in/{name}")
            told = {"missing": {"pressure": 1}}
            wait_for(lambda: json.loads(got[-1][1]).get("replaced") == told)


def test_what_comes_while_the_bridge_is_away_or_killed_teaches_once(
    tmp_path, broker, line, running
):
    client, _ = line
    path = configured(tmp_path, broker, running.url)
    log = tmp_path / "bridge.log"
    with Bridge(path, log) as bridge:
        publish(client, {**row(0), "label": label(0)})
        wait_for(lambda: len(events(running)) == 1)
        for k in range(1, 40):
            client.publish("in/press", json.dumps({**row(k), "label": label(k)}), qos=1)
        bridge.process.send_signal(signal.SIGKILL)
        bridge.process.wait()
    for k in range(40, 60):
        publish(client, {**row(k), "label": label(k)})
    with Bridge(path, log):
        wait_for(lambda: len(events(running)) == 60)
        time.sleep(1)
    assert len(events(running)) == 60


def test_a_learner_that_is_away_is_waited_for(tmp_path, broker, line):
    client, got = line
    log = tmp_path / "bridge.log"
    with (
        deaf_port() as deaf,
        Bridge(configured(tmp_path, broker, f"http://127.0.0.1:{deaf}"), log),
    ):
        for k in range(5):
            publish(client, {**row(k), "label": label(k)})
        wait_for(lambda: "not sent" in log.read_text())
    with (
        serving(press(tmp_path / "server")) as running,
        Bridge(configured(tmp_path, broker, running.url), log),
    ):
        wait_for(lambda: len(got) == 5)
        assert len(events(running)) == 5


def test_a_sensor_a_topic_makes_rows_of_the_latest(tmp_path, broker, line, running):
    client, got = line
    readings = 'layout = "sensors"\nperiod_s = 0.2'
    path = configured(tmp_path, broker, running.url, readings)
    with Bridge(path, tmp_path / "bridge.log"):
        publish(client, "70.5", "in/line/temp")
        publish(client, "Bad", "in/line/flow")
        wait_for(lambda: len(got) >= 3)
        assert json.loads(got[-1][1])["replaced"] == {"missing": {"flow": 1}}
        publish(client, "2.5", "in/line/flow")
        wait_for(lambda: "replaced" not in json.loads(got[-1][1]))


SECURITY = Path("/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so")


@pytest.mark.skipif(not SECURITY.exists(), reason="mosquitto came without its access control")
class TestABrokerThatLetsNobodySubscribe:
    @pytest.fixture
    def settings(self, tmp_path):
        access = {"publishClientSend": True, "publishClientReceive": True, "subscribe": False}
        rights = tmp_path / "rights.json"
        rights.write_text(json.dumps({"defaultACLAccess": access}))
        return f"plugin {SECURITY}\nplugin_opt_config_file {rights}\n"

    def test_is_told(self, tmp_path, broker):
        log = tmp_path / "bridge.log"
        path = configured(tmp_path, broker, "http://127.0.0.1:9")
        with log.open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "clients.bridges.mqtt", str(path)], stderr=errors
            )
        wait_for(lambda: "the broker refused in/#" in log.read_text())
        assert "subscribed" not in log.read_text()
        process.terminate()
        assert process.wait(30) == 0


def test_a_configuration_that_is_wrong_is_told(tmp_path):
    path = tmp_path / "mqtt.toml"
    path.write_text('[readings]\ntopik = "x"\n[learner]\nmodel = "press"\n')
    done = subprocess.run(
        [sys.executable, "-m", "clients.bridges.mqtt", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "readings.topic: Field required" in done.stderr
    assert "readings.topik: Extra inputs" in done.stderr
