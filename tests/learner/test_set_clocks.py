"""Clocks on the wall are set, and jump: nothing is forgotten or taught twice by that."""

from __future__ import annotations

import time

import pytest

from service.learner.linetime import LONGEST_STOP_S, LineTime
from tests.line import teach
from tests.serving import press, row, serving

DAY = 86400.0


def test_line_time_starts_where_it_was_and_only_goes_forward():
    starts = {
        None: 1e9,
        1e9 - 60: 1e9,
        1e9 - 40 * DAY: 1e9 - 40 * DAY + LONGEST_STOP_S,
        1e9 + 60: 1e9 + 60,
    }
    for latest, expected in starts.items():
        steady = [5.0]
        line = LineTime(latest, lambda: 1e9, lambda steady=steady: steady[0])
        assert line.now() == expected
        steady[0] += 7
        assert line.now() == expected + 7


@pytest.mark.parametrize("days", [40, -40])
def test_a_batch_that_is_sent_again_after_the_clock_was_set_teaches_once(
    tmp_path, monkeypatch, days
):
    real = time.time
    with serving(press(tmp_path)) as running:
        first = running.client.learn("press", [row(1)], ["ok"], batch_id="a")
        running.client.predict("press", [row(2)], batch_id="b")
        monkeypatch.setattr(time, "time", lambda: real() + days * DAY)
        running.learner.clock = time.time
        assert running.client.learn("press", [row(1)], ["ok"], batch_id="a") == first
        assert running.client.label("press", "b", ["ok"]).outcomes == ["learned"]
        teach(running, 3, 1)
        running.client.snapshot("press")
    with serving(press(tmp_path)) as running:
        assert running.client.learn("press", [row(1)], ["ok"], batch_id="a") == first
        assert running.client.label("press", "b", ["ok"]).outcomes == ["learned"]
        assert running.learner.models["press"].published.steps == 3


def test_batches_are_deleted_when_nobody_can_ask_for_them_any_more(tmp_path):
    top = "[limits]\nidempotency_days = 1\n"
    with serving(press(tmp_path, top=top)) as running:
        for index in range(20):
            running.client.predict("press", [row(index)], batch_id=f"b{index}")
        assert running.learner.events.batch("press", "b3") is not None
        running.learner.line_time._start += 2 * DAY
        running.client.predict("press", [row(1)], batch_id="late")
        teach(running, 0, 1)
        running.client.snapshot("press")
    with serving(press(tmp_path, top=top)) as running:
        assert running.learner.events.batch("press", "b3") is None
        assert running.learner.events.batch("press", "late") is not None
