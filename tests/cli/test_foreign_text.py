"""Text from elsewhere is shown on a terminal, never obeyed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from clients import Client
from service.cli import main
from service.cli.said import cell, plain
from service.config.file import parse
from tests.line import teach
from tests.serving import PRESS, press, serving

ODD = "a [/bold] [conceal]hidden[/] [red]x \x1b[2J\x1b]0;title\x07 \x9b31m \u202egnp.exe"


def apical(running, *arguments, status=0):
    done = CliRunner().invoke(main, [*arguments, "--url", running.url], env={"COLUMNS": "400"})
    assert done.exit_code == status, (done.output, done.exception)
    return done.output


def shown(text):
    for obeyed in ("\x1b", "\x07", "\x9b", "\u202e"):
        assert obeyed not in text
    return text


@pytest.fixture
def running(tmp_path):
    with serving(press(tmp_path)) as started:
        teach(started, 0, 3)
        started.client.snapshot("press")
        for verb in ("freeze", "thaw"):
            started.client.verb("press", verb, reason=ODD, actor=ODD[:150])
        yield started


def test_reasons_and_actors_are_shown_as_they_are(running):
    audit = shown(apical(running, "snapshots", "audit"))
    assert "a [/bold] [conceal]hidden[/] [red]x \\u001b[2J" in audit
    assert "\\u202egnp.exe" in audit
    shown(apical(running, "snapshots", "list"))
    assert "since" in shown(apical(running, "snapshots", "show", "--at", "2100-01-01T00:00:00Z"))


def test_json_for_programs_stays_json(running):
    out = shown(apical(running, "snapshots", "audit", "--json"))
    assert json.loads(out)["entries"][-1]["reason"] == ODD


def test_an_error_of_the_server_is_shown_too(running):
    said = apical(running, "snapshots", "freeze", "--reason", "x", "--model", ODD, status=1)
    assert "[/bold]" in shown(said)


def test_a_sensor_named_like_markup_breaks_no_table(tmp_path):
    store, log = (repr(str(tmp_path / name)) for name in ("store", "log"))
    text = PRESS.format(store=store, log=log, top="", model="")
    text = text.replace('"temp"', '"[/bold] t"').replace('"flow"', '"[link=x]"')
    with serving(parse(text)) as running:
        for index in range(6):
            running.client.learn("press", [{"[/bold] t": index}], ["ok"])
        running.client.snapshot("press")
        assert "[/bold] t" in apical(running, "snapshots", "diff", "1", "2")
        apical(running, "drift", "show")


def test_a_terminal_that_knows_ascii_alone_gets_no_traceback(running):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LANG": "C", "LC_ALL": "C"}
    environment["PYTHONUTF8"] = "0"
    with Client(running.url) as client:
        client.verb("press", "freeze", reason="Öl prüfen → 停止", actor="鈴木")
    for arguments in (["audit"], ["list"], ["audit", "--json"], ["thaw", "--reason", "ö"]):
        done = subprocess.run(
            [sys.executable, "-m", "service.cli", "snapshots", *arguments, "--url", running.url],
            capture_output=True,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [("a\x1bb", "a\\u001bb"), ("ä 停 €", "ä 停 €"), ("a\u200bb", "a\\u200bb"), ("a\tb", "a\tb")],
)
def test_what_would_be_obeyed_is_written_out(text, said):
    assert plain(text) == said
    assert cell("a\nb") == "a\\nb"


def test_an_export_writes_over_nothing_unasked(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "apical.toml"
    config.write_text(PRESS.format(store="'s'", log="'l'", top="", model=""))
    with serving(parse(config.read_text())) as running:
        teach(running, 0, 2)
        file = tmp_path / "events.parquet"
        file.write_text("mine")
        done = CliRunner().invoke(main, ["export", str(file)])
        assert done.exit_code == 1
        assert "expected no such file, found one" in done.output
        assert file.read_text() == "mine"
        assert CliRunner().invoke(main, ["export", str(file), "--force"]).exit_code == 0
        assert file.read_bytes()[:4] == b"PAR1"
