"""Every alert has a fixture that fires, one that must not, and a paragraph that helps."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess

import click
import pytest
import yaml

from service.cli import COMMANDS, main
from tests.deploy.expressions import (
    DEPLOY,
    ROOT,
    RULES,
    alerts,
    declared,
    groupings,
    rules,
    selections,
)

RUNBOOK = (ROOT / "docs/runbook.md").read_text("utf-8")
FIXTURES = sorted((RULES / "tests").glob("*.yml"))

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed"
)


@pytest.mark.parametrize("name", ["recording.yml", "alerts.yml"])
def test_every_rule_asks_for_declared_names_and_labels(name):
    known = declared()
    for rule in rules(name):
        labels = set()
        for metric, selected in selections(rule["expr"]):
            assert metric in known, rule
            assert selected <= known[metric], rule
            labels |= known[metric]
        assert groupings(rule["expr"]) <= labels, rule


@pytest.mark.parametrize("name", alerts())
def test_every_alert_says_what_where_and_how_bad(name):
    rule = alerts()[name]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    known = declared() | {"labels": set()}
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    available = groupings(rule["expr"])
    for metric, _ in selections(rule["expr"]):
        available |= known[metric]
    assert used <= available


def test_every_alert_has_a_fixture_that_fires_and_one_that_must_not():
    fires, silent = set(), set()
    for path in FIXTURES:
        for test in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            for check in test["alert_rule_test"]:
                (fires if check["exp_alerts"] else silent).add(check["alertname"])
    assert fires == silent == alerts().keys()


@needs_promtool
def test_prometheus_accepts_its_configuration_and_rules():
    done = subprocess.run(
        ["promtool", "check", "config", RULES / "prometheus.yml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_rules_fire_on_what_they_should_and_on_nothing_else(fixture):
    done = subprocess.run(
        ["promtool", "test", "rules", fixture.name],
        cwd=fixture.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanager_routes_to_receivers_that_exist_and_inhibits_alerts_that_exist():
    plain = yaml.safe_load((DEPLOY / "alertmanager/alertmanager.yml").read_text("utf-8"))
    receivers = {receiver["name"] for receiver in plain["receivers"]}
    routes = [plain["route"], *plain["route"]["routes"]]
    assert {route["receiver"] for route in routes} == receivers
    for rule in plain["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            assert re.fullmatch(r'alertname = "(\w+)"', matcher)[1] in alerts()


def test_every_alert_has_its_heading_and_every_heading_its_alert():
    assert re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE) == list(alerts())


def test_links_within_the_runbook_lead_to_headings():
    for target in re.findall(r"\]\(#(\w+)\)", RUNBOOK):
        assert target in {name.lower() for name in alerts()}


COMMAND_LINES = sorted(
    {" ".join(found.split()) for found in re.findall(r"`(apical [^`]+)`", RUNBOOK)}
)


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_every_command_of_the_runbook_exists_with_its_options(line):
    words = shlex.split(line)[1:]
    assert words[0] in COMMANDS
    command: click.Command | None = main
    context = click.Context(main)
    while isinstance(command, click.Group) and words:
        command = command.get_command(context, words.pop(0))
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options
    values = ["7" if word == "VERSION" else word for word in words]
    if values:
        # Parsed by click itself; nothing is run.
        command.make_context(command.name, values)
