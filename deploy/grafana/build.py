"""Write the provisioned dashboards: `python deploy/grafana/build.py [FOLDER]`.

The JSON in `deploy/grafana/dashboards/` is this program's output and is committed, so that Grafana
needs nothing else; a test builds it anew and compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import learning_dashboard
import line_dashboard
import service_dashboard
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    VariableOption,
    VariableRefresh,
)
from panels import MODEL, SOURCE, happened

PAGES = {"line": line_dashboard, "service": service_dashboard, "learning": learning_dashboard}

ANNOTATIONS = [
    (
        "Snapshots",
        "blue",
        f"changes(apical_snapshot_version{{{MODEL}}}[1m]) > 0",
        "snapshot of {{model}}",
        "model",
    ),
    (
        "Rollbacks",
        "purple",
        happened("apical_verbs_total", f'{MODEL},verb="rollback"'),
        "rollback of {{model}}, automatic: {{automatic}}",
        "model,automatic",
    ),
    (
        "Freezes",
        "light-blue",
        happened("apical_verbs_total", f'{MODEL},verb=~"freeze|thaw"'),
        "{{verb}} of {{model}}, automatic: {{automatic}}",
        "model,verb,automatic",
    ),
    (
        "Drift alarms",
        "orange",
        happened("apical_drift_alarms_total", MODEL),
        "drift of {{question}}: {{kind}} {{feature}}",
        "model,question,kind,feature",
    ),
    (
        "Guard",
        "red",
        happened("apical_guard_signals_total", f'{MODEL},kind!="grouped"'),
        "{{kind}} on {{model}}",
        "model,kind",
    ),
]


def page(of: ModuleType) -> dict[str, Any]:
    """A dashboard as Grafana provisions it."""
    built = (
        dashboard.Dashboard(of.TITLE)
        .uid(of.UID)
        .description(of.DESCRIPTION)
        .tags(["apical"])
        .time("now-3h", "now")
        .refresh("10s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        .with_variable(variable("model", "Model", "apical_durable_seq"))
        .with_variable(variable("instance", "Process", "apical_build_info"))
    )
    for name, other in PAGES.items():
        if other is not of:
            built.link(
                dashboard.DashboardLink(name.capitalize())
                .url(f"/d/{other.UID}")
                .include_vars(True)
                .keep_time(True)
            )
    for name, colour, expr, _, _ in ANNOTATIONS:
        built.annotation(
            dashboard.AnnotationQuery()
            .name(name)
            .datasource(SOURCE)
            .enable(True)
            .icon_color(colour)
            .expr(expr)
        )
    for title, panels in of.rows():
        built.with_row(dashboard.Row(title))
        for panel in panels:
            built.with_panel(panel)
    plain: dict[str, Any] = json.loads(json.dumps(built.build(), cls=JSONEncoder))
    for number, panel in enumerate(plain["panels"], 1):
        panel["id"] = number
    # These belong to the data source's kind of annotation, which the SDK does not model.
    for annotation, (_, _, _, text, keys) in zip(
        plain["annotations"]["list"], ANNOTATIONS, strict=True
    ):
        annotation |= {"titleFormat": text, "tagKeys": keys, "step": "15s"}
    return plain


def variable(name: str, label: str, metric: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(f"label_values({metric}, {name})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(text="All", value="$__all", selected=True))
    )


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, of in PAGES.items():
        text = json.dumps(page(of), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
        (folder / f"{name}.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")
