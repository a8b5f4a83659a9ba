"""The commands as a person types them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from service.cli import main
from tests.serving import label, press, row, serving


@pytest.fixture
def running(tmp_path):
    with serving(press(tmp_path)) as running:
        for index in range(20):
            running.client.learn("press", [row(index)], [label(index)])
        yield running


def type_(running, *arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(main, [*arguments, "--url", running.url], env={"COLUMNS": "120"})
    assert done.exit_code == status, done.output
    return done.output


def test_list_show_take_and_rollback(running):
    assert "snapshot 2 at event 20" in type_(running, "snapshots", "take", "--reason", "x")
    listing = type_(running, "snapshots", "list")
    assert "live at event 20" in listing
    assert "champion" in listing
    parsed = json.loads(type_(running, "snapshots", "list", "--json"))
    assert [s["version"] for s in parsed] == [1, 2]
    shown = json.loads(type_(running, "snapshots", "show", "2"))
    assert (shown["version"], shown["reason"]) == (2, "x")
    said = type_(running, "snapshots", "rollback", "1", "--reason", "test", "--actor", "kim")
    assert "the state of snapshot 1 is live again as event 21" in said
    assert running.client.manifest("press", 3)["parent"] == 1


def test_wrong_use_says_what_was_expected(running):
    assert "Missing option '--reason'" in type_(running, "snapshots", "rollback", "1", status=2)
    assert "expected a snapshot among 1..1" in type_(
        running, "snapshots", "rollback", "9", "--reason", "x", status=1
    )
    assert "expected one of the models ['press'], found 'pres'" in type_(
        running, "snapshots", "list", "--model", "pres", status=1
    )


def test_a_learner_that_is_not_there_is_said_so():
    done = CliRunner().invoke(main, ["snapshots", "list", "--url", "http://127.0.0.1:9"])
    assert done.exit_code == 1
    assert "no learner at http://127.0.0.1:9: is `apical serve` running?" in done.output


def test_init_writes_a_configuration_once(tmp_path):
    path = tmp_path / "apical.toml"
    assert CliRunner().invoke(main, ["init", str(path)]).exit_code == 0
    text = path.read_text()
    again = CliRunner().invoke(main, ["init", str(path)])
    assert again.exit_code == 1
    assert "exists; it was left as it is" in again.output
    assert path.read_text() == text


def test_help_lists_every_command_with_one_line():
    output = CliRunner().invoke(main, ["--help"]).output
    for command in ("demo", "init", "replica", "serve", "snapshots"):
        assert command in output
    for command in ("demo", "init", "replica", "serve", "snapshots"):
        assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0


def test_serve_without_a_configuration_names_the_remedy(tmp_path):
    done = CliRunner().invoke(main, ["serve", "--config", str(tmp_path / "none.toml")])
    assert done.exit_code == 1
    assert "`apical init` writes one" in done.output
