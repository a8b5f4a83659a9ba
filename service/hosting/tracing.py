"""Spans by OpenTelemetry, where its own environment variables ask for them.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/: nothing here has
a setting of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger()

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def _asked(environment: Mapping[str, str]) -> bool:
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER")
    return exporter == "otlp" or (
        exporter is None and any(environment.get(name) for name in ENDPOINTS)
    )


def traced(app: ASGIApp) -> ASGIApp:
    """The application with a span for every request; as it was where nobody asks for spans, or the
    extra `apical[otel]` is not installed."""
    if not _asked(os.environ):
        return app
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        log.warning("no spans: pip install 'apical[otel]'", missing=error.name)
        return app
    name = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "apical"}
    provider = TracerProvider(resource=Resource.create(name))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))

    async def last(message: Message, send: Send) -> None:
        # After this the server ends, by the signal that asked it to.
        if message["type"] == "lifespan.shutdown.complete":
            await run_in_threadpool(provider.shutdown)
        await send(message)

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, lambda message: last(message, send))
            return
        # The event, the log and the exemplars name the trace by the header; where the request
        # brought none, that of the span that has just begun.
        span = trace.get_current_span().get_span_context()
        if scope["type"] == "http" and span.is_valid:
            said = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
            others = [pair for pair in scope["headers"] if pair[0] != b"traceparent"]
            scope["headers"] = [*others, (b"traceparent", said.encode())]
        await app(scope, receive, send)

    excluded = "/v2/health/live,/v2/health/ready,/metrics"
    return OpenTelemetryMiddleware(
        inside, excluded_urls=excluded, tracer_provider=provider, exclude_spans=["receive", "send"]
    )
