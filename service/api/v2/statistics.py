"""The statistics extension of the inference protocol, as Triton has it, from the metrics."""

from __future__ import annotations

from typing import Any

from service.api.lines import Lines
from service.api.paths import ROUTES
from service.metrics.declared import Metrics

STAGES = {
    "queue": "queue",
    "compute_input": "decode",
    "compute_infer": "compute",
    "compute_output": "encode",
}
"""Triton's names of what `Metrics.spent` counts. What it has none for, the commit, is in
``success`` alone."""


def statistics(lines: Lines, model: str, version: str) -> dict[str, Any]:
    """What a model was asked since the process began, in all protocols; times are nanoseconds."""
    metrics = lines.engine.metrics
    metrics.tell()
    spent = _stages(metrics, model)
    count = int(spent.get("compute", (0, 0))[0])
    rows = sum(
        sample.value
        for family in metrics.rows.collect()
        for sample in family.samples
        if sample.labels == {"model": model, "outcome": "predicted"}
        and sample.name.endswith("_total")
    )
    nothing = {"count": 0, "ns": 0}
    return {
        "name": model,
        "version": version,
        "last_inference": int(lines.last.get(model, 0.0) * 1000),
        "inference_count": int(rows),
        "execution_count": count,
        "inference_stats": {
            "success": {"count": count, "ns": sum(ns for _, ns in spent.values())},
            "fail": {"count": _failed(metrics, model), "ns": 0},
            **{name: _duration(spent.get(stage)) for name, stage in STAGES.items()},
            "cache_hit": nothing,
            "cache_miss": nothing,
        },
        "batch_stats": [],
        "memory_usage": [],
    }


def _duration(found: tuple[int, int] | None) -> dict[str, int]:
    count, ns = found or (0, 0)
    return {"count": count, "ns": ns}


def _stages(metrics: Metrics, model: str) -> dict[str, tuple[int, int]]:
    """By stage how often, and for how many nanoseconds in all."""
    counts, sums = dict[str, int](), dict[str, int]()
    for family in metrics.stage_seconds.collect():
        for sample in family.samples:
            if sample.labels["model"] == model:
                stage = sample.labels["stage"]
                if sample.name.endswith("_count"):
                    counts[stage] = int(sample.value)
                elif sample.name.endswith("_sum"):
                    sums[stage] = int(sample.value * 1e9)
    return {stage: (counts[stage], sums[stage]) for stage in counts}


def _failed(metrics: Metrics, model: str) -> int:
    """Requests of lines that were answered with an error."""
    routes = set(ROUTES.values())
    return int(
        sum(
            sample.value
            for family in metrics.requests.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
            and sample.labels["model"] == model
            and sample.labels["route"] in routes
            and sample.labels["code"] >= "400"
        )
    )
