"""Spans reach a collector over OTLP, as the variables of OpenTelemetry say, and nowhere else."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from clients import Client
from service.hosting.process import ServerProcess
from tests.serving import IMMEDIATE, PRESS, label, row

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def collector():
    """An OTLP receiver's URL, and what it got."""
    got = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()


def asked(folder, environment):
    """Two labelled requests, one with a parent, and a probe; the traces of the events."""
    config = folder / "apical.toml"
    store, log = (repr(str(folder / name)) for name in ("store", "log"))
    config.write_text(PRESS.format(store=store, log=log, top="", model=IMMEDIATE))
    arguments = ["serve", "--config", str(config)]
    with ServerProcess(arguments, folder / "stderr", environment) as server:
        server.wait_ready()
        rows = {"rows": [row(1)], "labels": [label(1)]}
        at = f"{server.url}/v1/models/press/batches"
        first = httpx.post(at, json=rows, headers={"traceparent": PARENT})
        second = httpx.post(at, json=rows)
        with Client(server.url) as client:
            assert client.model("press").seq == 2
    return [each.headers.get("traceresponse", "").split("-")[1:2] for each in (first, second)]


def test_every_request_is_a_span_under_its_parent(tmp_path, collector):
    url, got = collector
    traces = asked(
        tmp_path,
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_SERVICE_NAME": "line-7",
            "OTEL_RESOURCE_ATTRIBUTES": "plant=kyoto",
        },
    )
    assert {path for path, _ in got} == {"/v1/traces"}
    resources = [r for _, request in got for r in request.resource_spans]
    about = {a.key: a.value.string_value for a in resources[0].resource.attributes}
    assert (about["service.name"], about["plant"]) == ("line-7", "kyoto")
    spans = [s for r in resources for scope in r.scope_spans for s in scope.spans]
    posted = [s for s in spans if s.name.startswith("POST")]
    assert len(posted) == 2
    assert not [s for s in spans if "health" in s.name]
    ours = next(s for s in posted if s.trace_id.hex() == TRACE)
    assert ours.parent_span_id.hex() == "00f067aa0ba902b7"
    # A request that came without a trace gets one, and its event names it.
    other = next(s for s in posted if s is not ours)
    assert traces == [[TRACE], [other.trace_id.hex()]]


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_nothing_is_sent_where_nobody_asks_for_it(tmp_path, collector, off):
    url, got = collector
    assert asked(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": url, **off}) == [[TRACE], []]
    assert got == []
