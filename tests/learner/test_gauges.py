"""What /metrics shows of a model is what is so now."""

from __future__ import annotations

import httpx

from tests.serving import press, row, serving


def f1(running):
    lines = httpx.get(f"{running.url}/metrics").text.splitlines()
    return {
        line.split("{")[1].split("}")[0]: float(line.split()[-1])
        for line in lines
        if line.startswith("apical_prequential_f1{") and 'span="window"' in line
    }


def test_a_class_that_has_left_the_window_has_no_f1_any_more(tmp_path):
    with serving(press(tmp_path, model="score_window_rows = 10")) as running:
        client = running.client
        for _ in range(3):
            client.learn("press", [row(0)], ["worn"])
        assert any('class="worn"' in labels for labels in f1(running))
        for _ in range(40):
            client.learn("press", [row(0)], ["ok"])
        figures = client.model("press").prequential["window"]["f1"]
        assert figures[1] is None
        assert [labels for labels in f1(running) if 'class="worn"' in labels] == []
        assert any('class="ok"' in labels for labels in f1(running))
