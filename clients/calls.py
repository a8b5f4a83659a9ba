"""The requests of the client and how their answers are read; the same for sync and async."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from clients.answers import LabelsAnswer
from clients.errors import InvalidInput, LabelsRefused, Rejected, TryAgain

Rows = Sequence[Mapping[str, float | str | None]]
"""Readings by sensor, of a category one of its values; numbers of numpy are numbers too, and NaN is
a missing reading."""

Columns = Mapping[str, Sequence[float | str | None]]
"""The same by sensor first; an array of numpy will do."""

TIMEOUT_S = 10.0


class Call:
    """One request, ready to be sent: method, path, JSON body and query. ``repeatable``: sent twice,
    it does what it does once."""

    __slots__ = ("body", "method", "path", "query", "repeatable")

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
        rows = path.endswith("/batches") and "labels" not in (self.body or {})
        named = "batch_id" in (self.body or {})
        self.repeatable = method == "GET" or rows or named


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
            "rows": None if rows is None else read_rows(rows),
            "columns": None if columns is None else read_columns(columns),
            "labels": None if labels is None else read_labels(labels),
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
            "labels": read_labels(labels),
            "rows": None if rows is None else read_rows(rows),
            "relabel": relabel or None,
            "line": line,
            "observed_at": observed_at,
        },
    )


def read_rows(rows: Rows) -> list[dict[str, float | str | None]]:
    """Rows as JSON has them; raises InvalidInput, which names row and sensor."""
    return [
        {str(sensor): _reading(value, row, sensor) for sensor, value in readings.items()}
        for row, readings in enumerate(rows)
    ]


def read_columns(columns: Columns) -> dict[str, list[float | str | None]]:
    """Columns as JSON has them; raises InvalidInput, which names row and sensor."""
    return {
        str(sensor): [_reading(value, row, sensor) for row, value in enumerate(values)]
        for sensor, values in columns.items()
    }


def read_labels(labels: Sequence[str | None]) -> list[str | None]:
    """Labels as JSON has them: None, or NaN as tables have it, where there is none; raises
    InvalidInput."""
    read: list[str | None] = []
    for row, label in enumerate(labels):
        if label is None or label != label:  # NaN alone differs from itself
            read.append(None)
        elif isinstance(label, str):
            read.append(str(label))
        else:
            raise InvalidInput(f"labels, row {row}: expected a class name or None, found {label!r}")
    return read


def _reading(value: Any, row: int, sensor: str) -> float | str | None:
    # Whether a text is what the sensor says, its model knows.
    if value is None or type(value) is int:
        return value
    if isinstance(value, str):
        return str(value)
    number = value
    if type(value) is not float:
        # Numbers of numpy, and others that know how to become one of ours; a text does not count.
        become = getattr(value, "item", None) or getattr(value, "__float__", None)
        try:
            number = become() if become is not None and not isinstance(value, bool) else value
        except (TypeError, ValueError, OverflowError):
            number = value
    if type(number) not in (float, int) or number in (math.inf, -math.inf):
        raise InvalidInput(
            f"row {row}, sensor {sensor!r}: expected a finite number, or None or NaN where it is "
            f"missing, found {value!r}"
        )
    return None if number != number else number  # NaN alone differs from itself


def verb_call(model: str, verb: str, reason: str | None, actor: str | None, **values: Any) -> Call:
    """An operator's verb."""
    body = {"reason": reason, "actor": actor, **values}
    return Call("POST", model_path(model, f"/{verb}"), body)


def taken(answer: LabelsAnswer) -> LabelsAnswer:
    """Late labels that were taken; raises LabelsRefused for others."""
    refused = {"unknown", "too_late"} & {*answer.outcomes}
    if refused:
        raise LabelsRefused(answer, refused.pop())
    return answer


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
