"""MQTT to a learner, and predictions back: `python -m clients.bridges.mqtt mqtt.toml`.

    broker → message → the spool's file → acknowledged to the broker → sent, learned → published

A message is acknowledged once its row is on this disk, and the session outlives this process, so
the broker keeps what comes while it is away (QoS 1). Delivered twice, it has the same `batch_id`
and teaches once. paho and not a wrapper of it: only there a message can be acknowledged by hand.
docs/bridges.md has a configuration.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from pydantic import Field

from clients.answers import Answer
from clients.bridges.configured import Learner, Table, load
from clients.errors import InvalidInput
from clients.spool import Delivered, Spool

log = logging.getLogger("apical.mqtt")

RETRY_S = 5.0


class Broker(Table):
    """Where the messages come from. ``client_id`` names the session that the broker keeps; the
    password is that in the environment variable ``APICAL_MQTT_PASSWORD``."""

    host: str = "127.0.0.1"
    port: int = 1883
    client_id: str = "apical-bridge"
    username: str | None = None
    ca: str | None = None


class Readings(Table):
    """``rows``: a message is a row, a JSON object. ``sensors``: a topic is a sensor, its last level
    the name, its messages are numbers; every ``period_s`` the latest of all are a row.

    ``texts`` are the sensors among them that are categories. ``label`` and ``time`` are the names
    under which a row's label and its time stand, ``id`` its own id; a label without readings is one
    that comes later, for that id.
    """

    topic: str
    layout: Literal["rows", "sensors"] = "rows"
    period_s: float = Field(1.0, gt=0)
    texts: tuple[str, ...] = ()
    label: str = "label"
    time: str = "time"
    id: str = "id"


class Predictions(Table):
    """Where predictions are published; none: they are not."""

    topic: str | None = None


class Configuration(Table):
    broker: Broker = Broker()
    readings: Readings
    learner: Learner
    predictions: Predictions = Predictions()


class Bridge:
    """Runs from `start` to `close`."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._readings = configuration.readings
        about = configuration.learner
        self._latest: dict[str, float | str | None] = {}
        self._stop = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=configuration.broker.client_id,
            clean_session=False,
            manual_ack=True,
        )
        if configuration.broker.username is not None:
            password = os.environ.get("APICAL_MQTT_PASSWORD")
            self._client.username_pw_set(configuration.broker.username, password)
        if configuration.broker.ca is not None:
            self._client.tls_set(configuration.broker.ca)
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._message
        self._spool = Spool(
            about.spool, about.url, about.model, line=about.line, on_answer=self._answered
        )

    def start(self) -> None:
        """Connect, and go on connecting where the broker is away."""
        broker = self._configuration.broker
        self._client.reconnect_delay_set(1, 30)
        self._client.connect_async(broker.host, broker.port)
        self._client.loop_start()
        if self._readings.layout == "sensors":
            threading.Thread(target=self._sample, name="sample", daemon=True).start()

    def close(self) -> None:
        """Stop. What waits in the spool and at the broker is there at the next start."""
        self._stop.set()
        self._client.disconnect()
        self._client.loop_stop()
        self._spool.close()

    def _connected(
        self, client: paho.Client, data: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if reason.is_failure:
            log.error("the broker refused: %s", reason)
            return
        client.subscribe(self._readings.topic, qos=1)

    def _subscribed(
        self, client: paho.Client, data: Any, mid: int, reasons: list[Any], properties: Any
    ) -> None:
        """The broker's answer: only from here on it keeps what comes."""
        if reasons[0].is_failure:
            log.error("the broker refused %s: %s", self._readings.topic, reasons[0])
            return
        log.info("subscribed to %s", self._readings.topic)

    def _message(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        take = self._row if self._readings.layout == "rows" else self._sensor
        while not self._stop.is_set():
            try:
                take(message)
            except (ValueError, InvalidInput) as error:
                # Told again it would be no better.
                log.error("message on %s dropped: %s", message.topic, error)
            # A disk that is full, or a spool. What comes behind waits at the broker meanwhile.
            except Exception as error:
                log.error("message on %s not kept yet: %s", message.topic, error)
                self._stop.wait(RETRY_S)
                continue
            client.ack(message.mid, message.qos)
            return

    def _row(self, message: paho.MQTTMessage) -> None:
        row = json.loads(message.payload)
        if not isinstance(row, dict):
            raise ValueError(f"expected a JSON object, found {str(row)[:60]!r}")
        names = self._readings
        label, at, own = (row.pop(name, None) for name in (names.label, names.time, names.id))
        batch_id = str(own) if own is not None else _id(message)
        if not row:
            if label is None or own is None:
                raise ValueError(f"expected readings, or {names.label} and {names.id}")
            self._spool.label(batch_id, [label])
            return
        labels = None if label is None else [label]
        observed_at = None if at is None else str(at)
        self._spool.put([row], labels, batch_id=batch_id, observed_at=observed_at)

    def _sensor(self, message: paho.MQTTMessage) -> None:
        name = message.topic.rpartition("/")[2]
        text = message.payload.decode("utf-8").strip()
        if name in self._readings.texts:
            self._latest[name] = text or None
            return
        # What is no number is what the sensor says when it has none.
        try:
            self._latest[name] = float(text)
        except ValueError:
            self._latest[name] = None

    def _sample(self) -> None:
        """A row of the latest readings, every period."""
        while not self._stop.wait(self._readings.period_s):
            row = dict(self._latest)
            if row:
                try:
                    self._spool.put([row])
                except Exception as error:
                    log.error("row not kept: %s", error)

    def _answered(self, delivered: Delivered) -> None:
        topic, answer = self._configuration.predictions.topic, delivered.answer
        if topic is None or not isinstance(answer, Answer):
            return
        said = {
            "id": delivered.batch_id,
            "prediction": answer.predictions[0],
            "probabilities": dict(zip(answer.classes, answer.probabilities[0], strict=True)),
            "learned": answer.learned[0],
            "seq": answer.seq,
        }
        if answer.replaced:
            said["replaced"] = answer.replaced
        sent = self._client.publish(topic, json.dumps(said), qos=1)
        if sent.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            log.error("prediction of %s not published: %s", delivered.batch_id, sent.rc)


def _id(message: paho.MQTTMessage) -> str:
    """The same for a message that is delivered again in its session, and for hardly any other."""
    about = f"{message.topic}|{message.mid}|".encode()
    return f"mqtt-{hashlib.sha256(about + message.payload).hexdigest()[:24]}"


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m clients.bridges.mqtt CONFIGURATION.toml", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        bridge = Bridge(load(Path(arguments[0]), Configuration))
    except (OSError, ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    bridge.start()
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    done.wait()
    bridge.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
