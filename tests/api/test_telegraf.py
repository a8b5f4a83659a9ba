"""What Telegraf's `outputs.http` sends, in both of its forms."""

from __future__ import annotations

import httpx
import pytest

from tests.serving import label, press, row, serving


@pytest.fixture
def running(tmp_path):
    with serving(press(tmp_path)) as started:
        yield started


def metric(k, line="L1", **fields):
    return {
        "fields": {**row(k), "uptime": 7, "host": "plc", **fields},
        "name": "press",
        "tags": {"line": line, "host": "gw"},
        "timestamp": 1_772_334_720 + k,
    }


def post(running, body, status=200):
    said = httpx.post(f"{running.url}/v1/ingest/telegraf/press", json=body)
    assert said.status_code == status, said.text
    return said.json()


def test_metrics_are_rows_and_a_label_teaches_once(running):
    assert post(running, metric(1))["learned"] == [False]
    assert running.client.model("press").seq == 0
    batch = {"metrics": [metric(k, label=label(k)) for k in range(5)]}
    assert post(running, batch)["learned"] == [True] * 5
    # Telegraf sends again what it saw no answer to.
    assert post(running, batch)["learned"] == [True] * 5
    (event,) = running.learner.events.events("press")
    assert (event.line, event.observed_at) == ("L1", 1_772_334_724)
    tagged = metric(9)
    tagged["tags"]["label"] = label(9)
    assert post(running, tagged)["outcomes"] == ["learned"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"metrics": []}, "metrics: expected a list of metrics"),
        ({"metrics": [{"fields": 3}]}, "row 0, metrics: expected an object with fields, found 3"),
        ({"fields": {"uptime": 1}}, "expected fields named as the sensors flow, temp, found up"),
        ({"metrics": [metric(1), metric(2, "L2")]}, "metrics of one line in one request"),
        (metric(1, temp="hot"), "row 0, temp: expected"),
        (metric(1, label="broken"), "broken"),
        ({"fields": {"temp": 1}, "tags": 5}, "row 0, tags: expected an object"),
    ],
)
def test_what_is_none_of_it_is_told(running, body, said):
    assert said in post(running, body, 422)["detail"]
    assert running.client.model("press").seq == 0
