"""A sensor that never says anything good is told of, once, and until it speaks again."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from service.api.silent import SILENT_ROWS
from service.cli import main
from tests.line import teach
from tests.serving import press, row, serving


def gauge(running):
    text = running.learner.metrics.exposition()[0].decode()
    series = 'apical_sensor_silent_rows{feature="temp",model="press"} '
    return [float(line.split()[-1]) for line in text.splitlines() if line.startswith(series)]


@pytest.mark.parametrize(("reading", "kind"), [(9999.0, "out_of_range"), (None, "missing")])
def test_it_is_named_in_log_metric_model_and_status(tmp_path, capsys, reading, kind):
    with serving(press(tmp_path)) as running:
        client, bad = running.client, [{"temp": reading, "flow": 1.0}] * 50
        teach(running, 0, 3)
        for _ in range(SILENT_ROWS // 50 - 1):
            client.predict("press", bad)
        assert client.model("press").raw["silent"] == {}
        assert gauge(running) == []
        client.learn("press", bad, ["ok"] * 50)
        client.predict("press", bad)
        rows = SILENT_ROWS + 50
        assert client.model("press").raw["silent"] == {"temp": {"kind": kind, "rows": rows}}
        assert gauge(running) == [rows]
        assert "".join(capsys.readouterr()).count("sensor says nothing") == 1
        said = CliRunner().invoke(main, ["status", "--url", running.url]).output
        assert f"in all of the last {rows} rows" in said
        assert "its unit and range in apical.toml" in said
        # One good reading among bad ones is enough.
        client.predict("press", [*bad, row(1)])
        assert client.model("press").raw["silent"] == {}
        assert gauge(running) == [0]


def test_now_and_then_is_not_always(tmp_path):
    with serving(press(tmp_path)) as running:
        for k in range(2 * SILENT_ROWS // 10):
            temp = None if k % 20 else 50.0
            running.client.predict("press", [{"temp": temp, "flow": 1.0}] * 10)
        assert running.client.model("press").raw["silent"] == {}
