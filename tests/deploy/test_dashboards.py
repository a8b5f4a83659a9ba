"""The dashboards are what the code builds, and ask for nothing that does not exist."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from tests.deploy.expressions import (
    DASHBOARDS,
    DEPLOY,
    annotation_expressions,
    dashboard,
    declared,
    groupings,
    panel_expressions,
    selections,
)

NAMES = [path.stem for path in DASHBOARDS]
PAGES = {path.stem: dashboard(path) for path in DASHBOARDS}


def test_the_committed_dashboards_are_what_the_code_builds(tmp_path):
    subprocess.run([sys.executable, DEPLOY / "grafana/build.py", tmp_path], check=True)
    assert sorted(p.stem for p in tmp_path.iterdir()) == ["learning", "line", "service"] == NAMES
    for path in DASHBOARDS:
        assert path.read_text("utf-8") == (tmp_path / path.name).read_text("utf-8"), path.name


@pytest.mark.parametrize("name", NAMES)
def test_every_query_asks_for_declared_names_and_labels(name):
    known = declared()
    expressions = panel_expressions(PAGES[name]) + annotation_expressions(PAGES[name])
    assert len(expressions) > 10
    for title, expression in expressions:
        asked = selections(expression)
        assert asked, title
        labels = set()
        for metric, selected in asked:
            assert metric in known, f"{title}: {metric}"
            assert selected <= known[metric], f"{title}: {metric} {selected - known[metric]}"
            labels |= known[metric]
        assert groupings(expression) <= labels, title


def test_a_query_for_an_undeclared_name_or_label_is_noticed():
    known = declared()
    assert selections('sum by (model) (rate(apical_rows_total{outcom="x"}[5m]))') == [
        ("apical_rows_total", {"outcom"})
    ]
    assert "outcom" not in known["apical_rows_total"]
    assert "apical_rows" not in known
    assert "apical_request_seconds" not in known


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_has_unit_thresholds_and_description(name):
    ids = [panel["id"] for panel in PAGES[name]["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PAGES[name]["panels"]:
        if panel["type"] == "row":
            continue
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"], panel["title"]
        assert defaults["thresholds"]["steps"], panel["title"]
        assert len(panel["description"]) > 15, panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]


@pytest.mark.parametrize("name", NAMES)
def test_panels_do_not_overlap(name):
    taken = set()
    for panel in PAGES[name]["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("name", NAMES)
def test_every_dashboard_can_be_narrowed_and_is_annotated(name):
    variables = [v["name"] for v in PAGES[name]["templating"]["list"]]
    assert variables == ["datasource", "model", "instance"]
    notes = [note["name"] for note in PAGES[name]["annotations"]["list"]]
    assert notes == ["Snapshots", "Rollbacks", "Freezes", "Drift alarms", "Guard"]


def test_grafana_is_provisioned_with_a_source_and_the_dashboards():
    folder = DEPLOY / "grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    assert source["isDefault"]
    (provider,) = yaml.safe_load((folder / "dashboards/apical.yaml").read_text())["providers"]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    mounts = [volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounts
    assert source["url"].split("//")[1].split(":")[0] in compose["services"]
