"""Docs that cannot lie: the README's snippets run, the configuration page lists every key."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from service.cli import main
from service.config import model as model_tables
from service.config import process
from service.config.limits import Limits
from service.config.model import ENSEMBLE
from service.hosting.process import ServerProcess

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def press(tmp_path_factory):
    """A learner started with what `apical init` writes, as the README says."""
    folder = tmp_path_factory.mktemp("readme")
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "init"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert "wrote apical.toml" in done.stdout
    text = (folder / "apical.toml").read_text()
    (folder / "apical.toml").write_text(text.replace("apical-data", str(folder / "data")))
    arguments = ["serve", "--config", str(folder / "apical.toml")]
    with ServerProcess(arguments, folder / "log") as server:
        server.wait_ready()
        yield server.url


def test_curl_snippets_predict_teach_and_move_the_prediction(press):
    (script,) = [s for s in snippets("console") if "curl" in s]
    done = subprocess.run(
        ["bash", "-euc", script.replace("http://127.0.0.1:8080", press)],
        capture_output=True,
        text=True,
        check=True,
    )
    first, taught, last = map(json.loads, done.stdout.replace("}{", "}\n{").splitlines())
    assert taught["learned"] == [True]
    assert last["probabilities"][0][1] > first["probabilities"][0][1]


def test_python_snippet_runs_and_its_predictions_move(press):
    (code,) = snippets("python")
    done = subprocess.run(
        [sys.executable, "-c", code.replace("http://127.0.0.1:8080", press)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    before, after = (json.loads(part) for part in done.stdout.splitlines()[0].split(" → "))
    assert after[0][1] > before[0][1]
    assert int(done.stdout.splitlines()[1]) >= 2


def test_every_command_of_the_readme_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"make ([a-z-]+)", README):
        assert target in targets
    from service.cli import COMMANDS

    for command in re.findall(r"^apical ([a-z]+)", README, re.MULTILINE):
        assert command in COMMANDS


def test_relative_links_of_all_pages_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


TABLES = {
    "[server]": process.Server,
    "[storage]": process.Storage,
    "[limits]": Limits,
    "[drift]": process.Drift,
    "[[models]]": model_tables.Model,
    "[[models.features]]": model_tables.Feature,
}


BY_MEMBERS = {"members": ENSEMBLE, "step_size": 1.0}
"""What a new model has that names neither."""


@pytest.mark.parametrize("table", TABLES)
def test_the_configuration_page_lists_every_key_with_its_default(table):
    page = (ROOT / "docs/configuration.md").read_text("utf-8")
    section = re.split(r"^##+ ", page.split(f"`{table}`\n", 1)[1], flags=re.MULTILINE)[0]
    listed = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE))
    model: type[BaseModel] = TABLES[table]
    assert listed.keys() == model.model_fields.keys()
    for name, field in model.model_fields.items():
        if field.is_required():
            assert listed[name] == "required", name
        else:
            default = BY_MEMBERS.get(name) if field.default is None else field.default
            shown = json.dumps(list(default) if isinstance(default, tuple) else default)
            assert listed[name] == f"`{shown}`", name


def typed_commands() -> list[tuple[str, str]]:
    """Every `apical …` line of a console block, in all pages, continued lines joined."""
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for block in re.findall(r"```console\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("apical "):
                    found.append((page.name, line))
    return found


@pytest.mark.parametrize(("page", "line"), typed_commands())
def test_every_command_of_the_pages_parses(page, line):
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = main
    context = click.Context(main, info_name="apical")
    while isinstance(command, click.Group) and (words or not command.invoke_without_command):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"{page}: {name}"
        command, context = found, click.Context(found, info_name=name, parent=context)
    # Paths in the pages need not exist here; everything else must be as click expects it.
    for parameter in command.params:
        if isinstance(parameter.type, click.Path):
            parameter.type.exists = False
    command.parse_args(context, words)
