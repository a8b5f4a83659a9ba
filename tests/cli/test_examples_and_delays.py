"""River's examples by name, and labels that come a time later."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli import main
from service.errors import ConfigurationError
from service.history.lessons import Lesson
from service.hosting.process import ServerProcess
from service.tables.delay import Delay, Late
from service.tables.examples import NAMES, PREFIX, read_example
from service.tables.sending import Part
from tests.cli.test_init_and_send import apical
from tests.serving import press, serving


def typed(*words, status=0):
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == status, done.output
    return done.output


def test_three_commands_lead_from_an_example_to_the_score(tmp_path):
    said = apical(tmp_path, "init", "river:Phishing")
    assert "river:Phishing: 1250 rows" in said
    assert said.endswith("  apical send river:Phishing\n")
    config = tmp_path / "apical.toml"
    config.write_text(config.read_text("utf-8").replace('"apical-data/', f'"{tmp_path}/data/'))
    with ServerProcess(["serve", "--config", str(config)], tmp_path / "stderr") as server:
        server.wait_ready()
        send = ["send", "river:Phishing", "--url", server.url, "--json"]
        found = json.loads(apical(tmp_path, *send))
        assert (found["model"], found["rows"]) == ("phishing", 1250)
        assert found["accuracy"] > 0.8 > found["majority_accuracy"]
        assert json.loads(apical(tmp_path, *send))["rows"] == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_example_lies_in_rivers_package(name, monkeypatch):
    def no_network(*_):
        raise AssertionError("it asked the network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    file = read_example(Path(f"{PREFIX}{name}"))
    assert file.rows > 1_000
    assert file.names[-1] == "label"
    if name == "Shuttle":
        assert set(file.column("label")) == {"normal", "anomaly"}


def test_what_is_no_example_and_a_missing_river_are_told_in_one_line(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    said = typed("init", "river:Elec2", status=1)
    assert "river:Bananas, river:ImageSegments, river:Phishing, river:Shuttle, found" in said
    monkeypatch.setitem(sys.modules, "river", None)
    said = typed("init", "river:Shuttle", status=1)
    assert said == "Error: river:Shuttle: needs river: pip install 'apical[demo]'\n"
    with pytest.raises(ConfigurationError, match="needs river"):
        read_example(Path("river:Shuttle"))
    assert list(tmp_path.iterdir()) == []


def part(start, at=None):
    return Part(start, {}, ["a"], None, at)


def test_labels_come_by_so_many_batches_or_by_the_time_of_the_rows():
    late = Late(Delay(batches=2))
    for k in range(4):
        late.add(part(k), None)
    assert [p.start for p in late.due()] == [0, 1]
    assert late.first_row == 2
    late = Late(Delay(seconds=600))
    # The third was observed before the second: a clock was set back.
    for k, at in enumerate((0.0, 500.0, 100.0, None, 700.0)):
        late.add(part(k, at), at)
    assert [p.start for p in late.due()] == [0]
    assert [p.start for p in late.due(1_100.0)] == [1, 2, 3]
    assert [(at, p.start) for at, p in late.rest()] == [(1_300.0, 4)]
    assert late.first_row is None


def minutes(folder, rows=60):
    """A row a minute."""
    text = "at,temp,flow,state\n" + "".join(
        f"2026-03-01T{k // 60:02d}:{k % 60:02d}:00Z,{20 + k},5,{'worn' if k % 3 else 'ok'}\n"
        for k in range(rows)
    )
    (folder / "line.csv").write_text(text)
    (folder / "untimed.csv").write_text(
        "\n".join(line.split(",", 1)[1] for line in text.splitlines())
    )


def order(running):
    """Of batches and their labels, as they reached the learner: first rows, or None for labels."""
    return [event.kind for event in running.learner.events.events("press")]


def test_a_time_is_that_of_the_column_of_times(tmp_path):
    minutes(tmp_path)
    with serving(press(tmp_path)) as running:
        said = []
        real = running.learner.post

        def post(work):
            said.append((type(work).__name__, work.batch_id[-9:]))
            return real(work)

        running.learner.post = post
        send = ["send", str(tmp_path / "line.csv"), "--target", "state", "--url", running.url]
        typed(*send, "--rows-per-batch", "5", "--label-delay", "20m")
        assert order(running) == ["late"] * 12
        # Row 24 is the first to come twenty minutes behind row 4, the last of the first batch.
        assert [int(batch) for kind, batch in said if kind == "LateLabels"] == list(range(0, 60, 5))
        first = said.index(("LateLabels", "000000000"))
        assert said[first - 1] == ("Posted", "000000020")


def test_without_one_it_is_the_clocks_at_the_rate(tmp_path):
    minutes(tmp_path, rows=30)
    with serving(press(tmp_path)) as running:
        send = ["send", str(tmp_path / "untimed.csv"), "--target", "state", "--url", running.url]
        more = ["--rows-per-batch", "5", "--label-delay", "0.3s"]
        assert "expected --rate with a time" in typed(*send, *more, status=2)
        typed(*send, *more, "--rate", "50")
        delays = [
            event.received_at - arrived
            for event in running.learner.events.events("press")
            if (arrived := Lesson.from_bytes(event.payload).arrived) is not None
        ]
        assert len(delays) == 6
        assert min(delays) >= 0.29
        assert running.client.model("press").prequential["overall"]["rows"] == 30
    said = typed("send", "x.csv", "--target", "y", "--label-delay", "soon", status=2)
    assert "expected batches such as 3, or a time such as 90s, 10m, 2h or 1d, found 'soon'" in said
