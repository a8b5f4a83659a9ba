"""The requests of the client and how their answers are read; the same for sync and async."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from clients.errors import Rejected, TryAgain

Rows = Sequence[Mapping[str, float | None]]
Columns = Mapping[str, Sequence[float | None]]

TIMEOUT_S = 10.0


class Call:
    """One request, ready to be sent: method, path, JSON body and query."""

    __slots__ = ("body", "method", "path", "query")

    def __init__(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        query: dict[str, Any] | None = None,
    ) -> None:
        self.query = query
        self.method = method
        self.path = path
        # Left out where None: the server tells "not sent" from null for its own defaults.
        self.body = None if body is None else {k: v for k, v in body.items() if v is not None}


def model_path(model: str, tail: str = "") -> str:
    """The path of a model, and what follows it."""
    return f"/v1/models/{quote(model, safe='')}{tail}"


def batch_call(
    model: str,
    rows: Rows | None,
    columns: Columns | None,
    labels: Sequence[str | None] | None,
    batch_id: str | None,
    line: str | None,
    observed_at: str | None,
) -> Call:
    """Rows, perhaps with labels."""
    return Call(
        "POST",
        model_path(model, "/batches"),
        {
            "rows": None if rows is None else [dict(row) for row in rows],
            "columns": None if columns is None else {k: list(v) for k, v in columns.items()},
            "labels": None if labels is None else list(labels),
            "batch_id": batch_id,
            "line": line,
            "observed_at": observed_at,
        },
    )


def labels_call(
    model: str,
    batch_id: str,
    labels: Sequence[str | None],
    rows: Rows | None,
    relabel: bool,
    line: str | None,
    observed_at: str | None,
) -> Call:
    """Labels that come later."""
    return Call(
        "POST",
        model_path(model, "/labels"),
        {
            "batch_id": batch_id,
            "labels": list(labels),
            "rows": None if rows is None else [dict(row) for row in rows],
            "relabel": relabel or None,
            "line": line,
            "observed_at": observed_at,
        },
    )


def verb_call(model: str, verb: str, reason: str | None, actor: str | None, **values: Any) -> Call:
    """An operator's verb."""
    body = {"reason": reason, "actor": actor, **values}
    return Call("POST", model_path(model, f"/{verb}"), body)


def read_answer(response: httpx.Response) -> dict[str, Any]:
    """The body of an answer; raises Rejected, TryAgain."""
    if response.is_success:
        body: dict[str, Any] = response.json()
        return body
    try:
        problem = response.json()
    except ValueError:
        problem = {"title": response.reason_phrase, "detail": response.text[:500]}
    if response.status_code in (429, 503):
        wait = response.headers.get("retry-after", "1")
        raise TryAgain(response.status_code, problem, float(wait) if wait.isdigit() else 1.0)
    raise Rejected(response.status_code, problem)
