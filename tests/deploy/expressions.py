"""What the files in `deploy/` ask Prometheus, and what there is to be asked for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from service.metrics.declared import Metrics

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus"
DASHBOARDS = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))

FUNCTIONS = {
    *("sum", "max", "min", "count", "topk", "by", "on", "or", "and", "unless", "offset"),
    *("rate", "increase", "changes", "histogram_quantile", "time"),
    *("clamp_min", "group_right"),
}

Selection = tuple[str, set[str]]
"""A metric's name and the labels that its selector compares."""


def dashboard(path: Path) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return plain


def panel_expressions(page: dict[str, Any]) -> list[tuple[str, str]]:
    """(title of the panel, expression) of every target."""
    return [
        (panel["title"], target["expr"])
        for panel in page["panels"]
        for target in panel.get("targets", ())
    ]


def annotation_expressions(page: dict[str, Any]) -> list[tuple[str, str]]:
    return [(note["name"], note["expr"]) for note in page["annotations"]["list"]]


def rules(name: str) -> list[dict[str, Any]]:
    """Of `recording.yml` or `alerts.yml`, those of all groups."""
    groups = yaml.safe_load((RULES / name).read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules("alerts.yml")}


def selections(expression: str) -> list[Selection]:
    """Every metric that an expression reads, with the labels it selects by."""
    found = []
    bare = re.sub(r'"[^"]*"', '""', expression)
    # What stands in by (…) and on (…) are labels, and a range or an offset is a time.
    bare = re.sub(r"\b(by|on)\s*\([^)]*\)", " ", bare)
    bare = re.sub(r"\[[^\]]*\]|\boffset\s+\w+", " ", bare)
    for name, _, labels in re.findall(r"([a-zA-Z_:][\w:]*)\s*(\{([^}]*)\})?", bare):
        if name in FUNCTIONS or re.fullmatch(r"\d.*", name):
            continue
        found.append((name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels))))
    return found


def groupings(expression: str) -> set[str]:
    """The labels in every `by (…)` and `on (…)`."""
    inside = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression)
    return {label.strip() for part in inside for label in part.split(",")}


def declared() -> dict[str, set[str]]:
    """Every name that may be asked for, with its labels."""
    scraped = {"job", "instance"}
    known = {"up": scraped}
    for metric in vars(Metrics()).values():
        if not hasattr(metric, "describe"):
            continue
        labels = scraped | set(metric._labelnames)
        for family in metric.describe():
            names = {
                "counter": {f"{family.name}_total"},
                "histogram": {f"{family.name}{end}" for end in ("_bucket", "_sum", "_count")},
                "summary": {f"{family.name}{end}" for end in ("_sum", "_count")},
            }.get(family.type, {family.name})
            for name in names:
                known[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    for rule in rules("recording.yml"):
        known[rule["record"]] = groupings(rule["expr"]) or {"job", "model"}
    return known
