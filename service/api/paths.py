"""Paths of requests, by which the front, the access and the form of errors tell them apart."""

from __future__ import annotations

import re

from starlette.types import Scope

LINES = re.compile(
    r"/v1/models/(?P<v1>[^/]+)/(?:batches|labels)|/v1/ingest/telegraf/(?P<telegraf>[^/]+)"
    r"|/v2/models/(?P<v2>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer"
)
"""What lines POST to."""

ROUTES = {
    "batches": "/v1/models/{model}/batches",
    "labels": "/v1/models/{model}/labels",
    "infer": "/v2/models/{model}/infer",
    "telegraf": "/v1/ingest/telegraf/{model}",
}
"""Routes of lines in the metrics, by the question."""

MODEL = re.compile(r"/v[12]/(?:models|ingest/telegraf)/(?P<model>[^/]+)(?:/.*)?", re.DOTALL)
"""All that is about one model."""

OPEN = re.compile(r"/|/v2/health/(?:live|ready)|/docs|/openapi\.json|/swagger/[^/]+")
"""Probes, and the page that documents the routes, which is the same everywhere."""

PROBES = re.compile(r"/v2/health/(?:live|ready)")


def route_path(scope: Scope) -> str:
    """A request's path without that under which a proxy has put the application."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :]
    return path
