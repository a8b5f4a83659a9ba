"""What people call a model, in any script: shown everywhere, and part of nothing."""

from __future__ import annotations

import json
import unicodedata

import httpx
import pytest
from click.testing import CliRunner

from clients import Client
from model_store.snapshots.store import SnapshotStore
from service.api.app import create_app
from service.cli import main
from service.config.file import parse
from service.errors import ConfigurationError
from service.metrics.declared import Metrics
from service.replica.replica import Replica
from service.state import same
from tests.line import teach, wait_for
from tests.serving import listening, press, serving, two

NAMED = 'display_name = "プレス"'


def apical(*arguments):
    done = CliRunner().invoke(main, [*arguments])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("name", ["プレス", "Presse Süd 3", "الخط ٣", "cœur", "✅ 1", "x" * 100])
def test_any_script_will_do(tmp_path, name):
    (model,) = press(tmp_path, model=f'display_name = "{name}"').models
    assert model.display_name == name


def test_it_is_normalised(tmp_path):
    apart = unicodedata.normalize("NFD", "プレス Süd")
    (model,) = press(tmp_path, model=f'display_name = "{apart}"').models
    assert model.display_name == "プレス Süd" != apart


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ('"x\\u0007"', r"U\+0007"),
        ('"a\\nb"', r"U\+000A"),
        ('"a\\u202eb"', r"U\+202E"),
        ('"\\u0085"', r"U\+0085"),
        ('""', "''"),
        ('" x"', "' x'"),
        (f'"{"x" * 101}"', "at most 100 characters"),
        ("3", "valid string"),
    ],
)
def test_what_is_no_name_is_refused_by_key(tmp_path, name, found):
    with pytest.raises(ConfigurationError, match=rf"models\.0\.display_name: .*{found}"):
        press(tmp_path, model=f"display_name = {name}")


def test_it_is_shown_wherever_the_model_is(tmp_path):
    with serving(press(tmp_path, model=NAMED)) as running:
        teach(running, 0, 20)
        running.client.snapshot("press")
        about = running.client.model("press")
        assert (about.name, about.display_name) == ("press", "プレス")
        assert [m.display_name for m in running.client.models()] == ["プレス"]
        said = apical("status", "--url", running.url)
        assert said.startswith(f"press (プレス): learner at {running.url}")
        listed = apical("snapshots", "list", "--url", running.url)
        assert "press (プレス): live at event 20" in listed
        metadata = httpx.get(f"{running.url}/v2/models/press").json()
        assert metadata["parameters"]["display_name"] == "プレス"
        metrics = httpx.get(f"{running.url}/metrics").text
        assert 'apical_model_info{display_name="プレス",model="press"} 1.0' in metrics
        replica = Replica(SnapshotStore.open(tmp_path / "store"), (), Metrics(), poll_s=0.01)
        with listening(create_app(replica)) as url, Client(url) as client:
            wait_for(client.ready)
            assert client.model("press").display_name == "プレス"
            metrics = httpx.get(f"{url}/metrics").text
            assert 'apical_model_info{display_name="プレス",model="press"} 1.0' in metrics
            assert "press (プレス): replica" in apical("status", "--url", url)


def test_it_changes_freely_and_no_state_knows_it(tmp_path, capfd):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 10)
        before = running.learner.models["press"].published
        assert running.client.model("press").display_name is None
        metrics = httpx.get(f"{running.url}/metrics").text
        assert 'apical_model_info{display_name="press",model="press"} 1.0' in metrics
        assert "display_name" not in httpx.get(f"{running.url}/v2/models/press").text
    for name in (NAMED, 'display_name = "Presse"', ""):
        with serving(press(tmp_path, model=name)) as running:
            assert same(running.learner.models["press"].published, before)
            assert (running.client.model("press").display_name or "") in name
            assert running.client.model("press").seq == 10
    assert "display_name=プレス" in capfd.readouterr().err


def test_a_store_that_knows_none_is_read(tmp_path):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 10)
    (manifest,) = (tmp_path / "store/models/press/snapshots/00000002").glob("manifest.json")
    assert '"display_name"' not in json.dumps(json.loads(manifest.read_text("utf-8"))["learning"])
    with serving(press(tmp_path, model=NAMED)) as running:
        assert running.client.model("press").display_name == "プレス"


def test_a_replica_takes_another_name_with_the_next_champion(tmp_path):
    with serving(press(tmp_path, model='display_name = "alt"')) as running:
        teach(running, 0, 5)
    replica = Replica(SnapshotStore.open(tmp_path / "store"), (), Metrics(), poll_s=0.01)
    with listening(create_app(replica)) as url, Client(url) as client:
        wait_for(client.ready)
        assert 'display_name="alt"' in httpx.get(f"{url}/metrics").text
        with serving(press(tmp_path, model='display_name = "neu"')) as running:
            teach(running, 5, 5)
            running.client.snapshot("press")
            wait_for(lambda: client.model("press").display_name == "neu")
        said = httpx.get(f"{url}/metrics").text
        assert 'display_name="neu"' in said
        assert 'display_name="alt"' not in said


def test_who_has_to_choose_sees_both_names(tmp_path):
    configuration = two(tmp_path)
    first, second = configuration.models
    named = first.model_copy(update={"display_name": "溶接"})
    with serving(configuration.model_copy(update={"models": (named, second)})) as running:
        done = CliRunner().invoke(main, ["status", "--url", running.url])
    assert "expected --model with one of [a (溶接), b], found none" in done.output


def width(text):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def test_columns_of_a_table_stand_under_each_other_where_characters_are_wide(tmp_path):
    text = (
        f"[storage]\nstore = '{tmp_path}/store'\nlog = '{tmp_path}/log'\n"
        '[[models]]\nname = "press"\nclasses = ["良", "不良"]\n'
        '[[models.features]]\nname = "温度センサー"\nrange = [0, 1]\n'
        '[[models.features]]\nname = "flow"\nrange = [0, 1]\n'
    )
    with serving(parse(text)) as running:
        for _ in range(5):
            running.client.learn("press", [{"温度センサー": 0.5, "flow": 0.25}], ["良"])
        running.client.snapshot("press")
        said = apical("snapshots", "diff", "1", "2", "--url", running.url)
    lines = said.splitlines()
    rows = [line for line in lines if line.strip().startswith(("温度センサー", "flow"))]
    ends = {width(line[: line.index(line.split()[1])]) for line in rows}
    assert len(rows) == 2
    assert len(ends) == 1
