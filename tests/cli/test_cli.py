"""The commands as a person types them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from service.cli import main
from service.config.file import parse
from service.errors import ConfigurationError
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
    done = CliRunner().invoke(main, ["status", "--url", "localhost:8080"])
    assert done.exit_code == 1
    assert "url: expected one such as http://127.0.0.1:8080, found 'localhost" in done.output


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


@pytest.mark.parametrize("command", [[], ["serve"], ["replica"], ["send"], ["snapshots", "list"]])
def test_help_loads_nothing_of_what_the_commands_do(command):
    code = (
        "import sys\n"
        "from service.cli import main\n"
        f"main({[*command, '--help']!r}, standalone_mode=False)\n"
        "heavy = {'torch', 'fastapi', 'onnxruntime', 'uvicorn', 'structlog'} & sys.modules.keys()\n"
        "sys.exit(' '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage: " in done.stdout


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[server]\nprot = 1\n", "[server] has no key prot; did you mean port?"),
        ("[sever]\nport = 1\n", "the file has no key sever; did you mean server?"),
        ("[limits]\nx = 1\n", "[limits] has no key x; it has rows_per_batch, requests_per_s"),
        ("", "[[models]] number 1 has no key hiden; did you mean hidden?"),
        ("", "[[models.features]] number 2 has no key rang; did you mean range?"),
    ],
)
def test_a_key_that_there_is_not_is_told_in_the_words_of_the_file(written, said):
    model = '[[models]]\nname = "a"\nclasses = ["x", "y"]\nhiden = [3]\n'
    features = '[[models.features]]\nname = "s"\nrange = [0, 1]\n'
    text = f"{written}{model}{features}{features}rang = [0, 1]\n"
    with pytest.raises(ConfigurationError) as error:
        parse(text)
    assert f"apical.toml: {said}" in str(error.value)
