"""Telegraf's `outputs.http` with its JSON: each metric is a row, its fields are readings.

https://docs.influxdata.com/telegraf/v1/data_formats/output/json/
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from service.api import bodies
from service.api.faults import few, said
from service.api.lines import Answer, Batch, Call, Lines
from service.api.v1.readings import labels as read_labels
from service.api.v1.readings import readings as read_rows
from service.errors import Fault, InvalidRequest

LABEL, LINE = "label", "line"
"""A field or a tag that is a row's label, and a tag that is its line."""


def telegraf(lines: Lines, call: Call, body: dict[str, Any]) -> Answer:
    """Predict rows, and learn those that are labelled.

    Fields that are no sensors are left out, for Telegraf sends all that a device says. Sent again,
    as Telegraf does where it saw no answer, the same metrics teach once: their digest is the
    `batch_id`.
    """
    engine = lines.engine
    schema = engine.model(call.model).schema
    metrics = _metrics(body)
    known = {sensor.name for sensor in schema.sensors}
    # What is said in words Telegraf's plugins make a tag of.
    told = [schema.sensors[column].name for column in schema.categories]
    rows = [
        {name: metric["tags"][name] for name in told if name in metric.get("tags", {})}
        | {name: value for name, value in metric["fields"].items() if name in known}
        for metric in metrics
    ]
    if not any(rows):
        found = sorted({name for metric in metrics for name in metric["fields"]})
        expected = f"fields named as the sensors {few(sorted(known))}"
        raise InvalidRequest(Fault("fields", expected, few(found)))
    readings = read_rows(schema, {"rows": rows}, engine.limits.rows_per_batch)
    labelled = [_of(metric, LABEL) for metric in metrics]
    labels = read_labels(schema, labelled if any(labelled) else None, len(rows))
    if labels is not None:
        lines.teacher()
    digest = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
    batch_id = f"telegraf-{digest[:32]}" if labels is not None else None
    stamp = metrics[-1].get("timestamp")
    observed_at = float(stamp) if isinstance(stamp, int | float) else None
    return lines.batch(call, Batch(readings, labels, batch_id, _line(metrics), observed_at))


def _metrics(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of a batch, or the one that is a body by itself."""
    found = body.get("metrics", [body])
    if not isinstance(found, list) or not found:
        raise InvalidRequest(Fault("metrics", "a list of metrics", said(found)))
    for place, metric in enumerate(found):
        if not isinstance(metric, dict) or not isinstance(metric.get("fields"), dict):
            wrong = metric.get("fields") if isinstance(metric, dict) else metric
            raise InvalidRequest(Fault("metrics", "an object with fields", said(wrong), place))
        if not isinstance(metric.get("tags", {}), dict):
            raise InvalidRequest(Fault("tags", "an object", said(metric["tags"]), place))
    return found


def _of(metric: dict[str, Any], name: str) -> Any:
    found = metric["fields"].get(name, metric.get("tags", {}).get(name))
    return found or None


def _line(metrics: list[dict[str, Any]]) -> str | None:
    named = {LINE: metrics[0].get("tags", {}).get(LINE)}
    others = {str(metric.get("tags", {}).get(LINE)) for metric in metrics}
    if len(others) > 1:
        expected = "metrics of one line in one request (outputs.http, use_batch_format)"
        raise InvalidRequest(Fault("tags.line", expected, few(sorted(others))))
    return bodies.name(named, LINE)
