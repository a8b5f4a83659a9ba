"""Write docs/metrics.md from the declarations: `python deploy/metrics_page.py`."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from service.metrics.declared import Metrics

PAGE = Path(__file__).parent.parent / "docs/metrics.md"

HEAD = """# Metrics

What a learner or a replica exposes at `/metrics`; written by `deploy/metrics_page.py` from the
declarations in `service/metrics/`. Names are in base units. Labels are bounded: routes are
templates, models are those that exist, features are capped by `metrics_max_features`. A rate is
`rate()` of a counter. A series with labels exists from its first increment or value on.
`* on (model) group_left (display_name) apical_model_info` puts what people call a model beside it.
"""


def text() -> str:
    """The page, one table per group of declarations."""
    metrics = Metrics()
    parts = [HEAD]
    kept = [m for m in vars(metrics).values() if isinstance(m, MetricWrapperBase)]
    groups: dict[str, list[MetricWrapperBase]] = {}
    for metric in kept:
        groups.setdefault(_group(_name(metric)), []).append(metric)
    for group, members in groups.items():
        parts.append(
            f"\n## {group}\n\n| name | type | labels | meaning |\n| --- | --- | --- | --- |\n"
        )
        parts += [_row(metric) for metric in members]
    return "".join(parts)


def _row(metric: MetricWrapperBase) -> str:
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    help_text = metric._documentation.replace("|", "\\|")
    if isinstance(metric, Histogram):
        bounds = ", ".join(f"{bound:g}" for bound in metric._upper_bounds[:-1])
        help_text += f" Buckets: {bounds}."
    return f"| `{_name(metric)}` | {metric._type} | {labels} | {help_text} |\n"


def _name(metric: MetricWrapperBase) -> str:
    return str(metric._name) + ("_total" if isinstance(metric, Counter) else "")


def _group(name: str) -> str:
    """The title under which a metric stands."""
    for prefix, group in GROUPS:
        if re.match(rf"apical_({prefix})", name):
            return group
    raise ValueError(f"{name}: expected a name that belongs to a group of docs/metrics.md")


GROUPS = (
    ("request|refusal|row|reading|queue|stage|received|sent|sensor", "Requests"),
    ("update_seconds|updates|label_|unlabelled|oldest|prequential|frozen|step_size", "Learning"),
    ("commit|durable|log|disk|store", "Durability"),
    ("snapshot|champion|verbs", "Snapshots and verbs"),
    ("gate|guard|shadow|alarms", "Gate and guard"),
    ("feedback|weight|local|update_ratio|gain|mixture|member", "The network from inside"),
    ("drift", "Drift"),
    ("replica", "Replicas"),
    ("ready|build|model_info", "Process"),
)


if __name__ == "__main__":
    PAGE.write_text(text(), "utf-8")
