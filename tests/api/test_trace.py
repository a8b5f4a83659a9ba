"""From a trace to the weight that it moved: log, event, exemplars."""

from __future__ import annotations

import contextlib
import json
import re

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from service.history.exported import line_of
from service.hosting.process import ServerProcess
from tests.line import wait_for
from tests.serving import IMMEDIATE, PRESS, label, press, row, serving

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def post(url, what, body, parent=PARENT):
    headers = {} if parent is None else {"traceparent": parent}
    return httpx.post(f"{url}/v1/models/press/{what}", json=body, headers=headers)


def lines(running):
    return [line_of(record) for record in running.learner.events.events("press")]


def test_the_event_names_the_trace_by_which_its_labels_came(tmp_path):
    late = "0af7651916cd43dd8448eb211c80319c"
    with serving(press(tmp_path)) as running:
        rows = {"rows": [row(1)], "labels": [label(1)]}
        assert post(running.url, "batches", rows).is_success
        assert post(running.url, "batches", rows, None).is_success
        assert post(running.url, "batches", {"rows": [row(2)], "batch_id": "b"}).is_success
        said = {"batch_id": "b", "labels": [label(2)]}
        assert post(running.url, "labels", said, f"00-{late}-b7ad6b7169203331-00").is_success
        assert [e.get("trace") for e in lines(running)] == [TRACE, None, late]
        seq = running.client.model("press").seq
    with serving(press(tmp_path)) as again:
        assert again.client.model("press").seq == seq
        assert [e.get("trace") for e in lines(again)] == [TRACE, None, late]


@pytest.mark.parametrize(
    "parent",
    [
        "", "00", "x" * 55, f"ff-{TRACE}-00f067aa0ba902b7-01", f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-00f067aa0ba902b7-01", f"{PARENT}-more",
        f"00-{TRACE}-00f067aa0ba902b7-0", f"00-{TRACE[1:]}-00f067aa0ba902b7-01",
    ],
)  # fmt: skip
def test_a_header_that_names_no_trace_is_left_alone(tmp_path, parent):
    with serving(press(tmp_path)) as running:
        rows = {"rows": [row(1)], "labels": [label(1)]}
        said = post(running.url, "batches", rows, parent)
        assert said.is_success
        assert "traceresponse" not in said.headers
        assert lines(running)[0].get("trace") is None


def test_a_later_version_of_the_header_is_understood_as_far_as_it_goes(tmp_path):
    with serving(press(tmp_path)) as running:
        rows = {"rows": [row(1)], "labels": [label(1)]}
        said = post(running.url, "batches", rows, f"01{PARENT[2:]}-what-comes")
        assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-01", said.headers["traceresponse"])
        assert lines(running)[0]["trace"] == TRACE


def test_every_reply_hands_the_trace_on(tmp_path):
    with serving(press(tmp_path)) as running:
        spans = set()
        for path in ("/v1/models", "/v1/models/press/batches", "/nothing", "/metrics"):
            said = httpx.get(running.url + path, headers={"traceparent": PARENT})
            spans.add(said.headers["traceresponse"])
        assert len(spans) == 4
        assert {span.split("-")[1] for span in spans} == {TRACE}


def test_lines_of_the_log_name_the_trace(tmp_path):
    config = tmp_path / "apical.toml"
    store, log = (repr(str(tmp_path / name)) for name in ("store", "log"))
    config.write_text(PRESS.format(store=store, log=log, top="", model=IMMEDIATE))
    arguments = ["serve", "--config", str(config), "--log-json"]
    with ServerProcess(arguments, tmp_path / "stderr") as server:
        server.wait_ready()
        post(server.url, "freeze", {"reason": "looking"})
        post(server.url, "thaw", {"reason": "looked"}, None)
    told = {}
    for line in (tmp_path / "stderr").read_text().splitlines():
        with contextlib.suppress(ValueError):
            said = json.loads(line)
            if said.get("event") in ("freeze", "thaw"):
                told[said["event"]] = said.get("trace")
    assert told == {"freeze": TRACE, "thaw": None}


def samples(running):
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    said = httpx.get(f"{running.url}/metrics", headers=accept)
    assert said.headers["content-type"].startswith("application/openmetrics-text")
    return [s for f in text_string_to_metric_families(said.text) for s in f.samples]


def test_exemplars_lead_from_a_bucket_to_a_trace(tmp_path):
    with serving(press(tmp_path)) as running:
        rows = {"rows": [row(1)], "labels": [label(1)]}
        assert post(running.url, "batches", rows).is_success
        assert post(running.url, "batches", rows, None).is_success
        wait_for(
            lambda: (
                {s.name for s in samples(running) if s.exemplar}
                >= {"apical_request_seconds_bucket", "apical_commit_seconds_bucket"}
            )
        )
        found = [s.exemplar.labels for s in samples(running) if s.exemplar]
        assert all(each == {"trace_id": TRACE} for each in found)
        # Nor does the text form of old, which has no exemplars, change its names.
        text = httpx.get(f"{running.url}/metrics").text
        assert "apical_requests_total{" in text
        assert "_created" not in text


def test_bytes_and_what_is_in_flight(tmp_path):
    with serving(press(tmp_path)) as running:
        body = json.dumps({"rows": [row(1)], "labels": [label(1)]}).encode()
        said = httpx.post(
            f"{running.url}/v1/models/press/batches",
            content=body,
            headers={"content-type": "application/json"},
        )
        route = {"route": "/v1/models/{model}/batches", "model": "press"}
        wait_for(lambda: any(s.labels == route for s in samples(running)))
        by_name = {s.name: s.value for s in samples(running) if s.labels == route}
        assert by_name["apical_received_bytes_total"] == len(body)
        assert by_name["apical_sent_bytes_total"] == len(said.content)
        flying = [s.value for s in samples(running) if s.name == "apical_requests_in_flight"]
        assert flying == [1]  # the scrape itself
