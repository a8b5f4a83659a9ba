"""Sensors that fall silent cost a network what it knew by them; that is no poison."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.guard.loop import run
from benchmarks.guard.streams import BAD_LINE, Stream
from service.evaluation.guard import Guard
from service.evaluation.silence import Silence, without

SILENT_FROM = 5_000


def readings(seed, rows):
    """A sensor that measures, one that is often missing, a switch, and one in steps."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(rows, 4))
    found[rng.random(rows) < 0.7, 1] = np.nan
    found[:, 2] = np.arange(rows) // 50 % 2
    found[:, 3] = np.round(found[:, 3])
    return found.astype(np.float32)


def heard(rows):
    silence = Silence(readings(0, 800))
    for request in np.split(rows, range(20, len(rows), 20)):
        silence.hear(request)
    return silence


@pytest.mark.parametrize("seed", range(5))
def test_sensors_that_speak_as_before_are_not_taken_for_silent(seed):
    rows = readings(seed + 1, 300)
    # Both have been so before.
    rows[:, 1], rows[:, 2] = np.nan, 1.0
    assert heard(rows).fallen == {}


@pytest.mark.parametrize("said", [np.nan, 1.5])
@pytest.mark.parametrize("column", [0, 3])
def test_a_sensor_of_which_nothing_comes_or_always_the_same_is_silent(column, said):
    rows = readings(1, 300)
    rows[5:, column] = said
    silence = heard(rows)
    assert list(silence.fallen) == [column]
    less = without(readings(2, 50), silence.fallen)
    np.testing.assert_array_equal(less[:, column], np.full(50, said, np.float32))
    np.testing.assert_array_equal(
        np.delete(less, column, 1), readings(2, 50)[:, np.arange(4) != column]
    )


def test_without_rows_of_before_to_compare_with_nothing_is_silent():
    silence = Silence(np.zeros((0, 4), np.float32))
    silence.hear(readings(0, 10))
    assert silence.fallen == {}


class Blind:
    """Feeds a guard requests of 20 rows of which both networks err in a part; the label stays as it
    was for some ``run`` of rows."""

    def __init__(self, seed: int, run: int = 1) -> None:
        self.guard, self.rng, self.seq = Guard(), np.random.default_rng(seed), 0
        self.run, self.label = run, 0
        self.kinds: list[str] = []

    def send(self, requests: int, rate: float, handicap: float | None, flip: float = 0.0) -> None:
        for _ in range(requests):
            self.seq += 1
            true = []
            for _ in range(20):
                if self.rng.random() < 1 / self.run:
                    self.label = int(self.rng.integers(3))
                true.append(self.label)
            labels = (np.array(true) + (self.rng.random(20) < flip)) % 3
            said = np.eye(3)[(true + (self.rng.random(20) < rate)) % 3]
            signal = self.guard.observe(self.seq, labels, said, said, silence=handicap)
            if signal is not None:
                self.kinds.append(signal.kind)


@pytest.mark.parametrize("seed", range(8))
def test_errors_that_a_silent_sensor_explains_are_no_poison_and_more_than_these_are(seed):
    kinds = []
    for handicap in (None, 0.3, 0.05):
        line = Blind(seed)
        line.send(50, 0.1, None)
        line.send(100, 0.4, handicap)
        kinds.append(line.kinds)
    assert kinds == [["guard"], [], ["guard"]]


@pytest.mark.parametrize("seed", range(8))
def test_labels_that_change_as_they_never_did_are_poison_whatever_sensors_say(seed):
    line = Blind(seed, run=30)
    line.send(100, 0.02, None)
    line.send(50, 0.02, 0.3, flip=0.4)
    assert line.kinds == ["guard"]


def test_a_restart_while_a_sensor_is_silent_changes_nothing():
    a, b = Blind(3), Blind(3)
    for line in (a, b):
        line.send(50, 0.1, None)
        line.send(8, 0.5, 0.25)
        assert line.guard.suspicious
    b.guard = Guard()
    b.guard.restore(json.loads(json.dumps(a.guard.to_dict())))
    for line in (a, b):
        # Nobody knows any more what was so before, and what was found out holds.
        line.send(60, 0.4, None)
    assert a.kinds == b.kinds == []
    assert a.guard.to_dict() == b.guard.to_dict()


def silenced(seed, rows=8_000):
    """Three classes that two of eight sensors tell; the better one falls silent."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=rows)
    x = rng.normal(size=(rows, 8))
    x[:, 0] += 2.5 * (labels - 1)
    x[:, 1] += 1.2 * (labels == 1)
    x[SILENT_FROM:, 0] = np.nan if seed % 2 else x[SILENT_FROM, 0]
    return Stream(x, labels, np.zeros(rows, bool), SILENT_FROM)


@pytest.mark.parametrize("seed", range(2))
def test_a_line_whose_best_sensor_falls_silent_is_not_frozen_and_one_that_is_poisoned_is(seed):
    given = silenced(seed)
    assert not run(given, 3, seed, 20).frozen
    rng = np.random.default_rng(seed + 10)
    poisoned = rng.random(len(given.labels)) < 0.5
    poisoned[:SILENT_FROM] = False
    flipped = np.where(
        poisoned, (given.labels + rng.integers(1, 3, len(poisoned))) % 3, given.labels
    )
    # Its sensors are as they were.
    whole = given.x.copy()
    whole[SILENT_FROM:, 0] = rng.normal(size=len(whole) - SILENT_FROM) + 2.5 * (
        given.labels[SILENT_FROM:] - 1
    )
    bad = run(replace(given, x=whole, labels=flipped, poisoned=poisoned), 3, seed, 20)
    assert bad.frozen
    assert bad.poisoned_in_champion == 0


def of_five(seed, rows=9_000):
    """The same of five lines, of which the bad one's sensor falls silent."""
    given = silenced(seed, rows)
    lines = np.repeat(np.random.default_rng(seed).integers(5, size=rows // 20), 20)
    rng = np.random.default_rng(seed + 10)
    whole = rng.normal(size=rows) + 2.5 * (given.labels - 1)
    x = given.x.copy()
    speaks = (np.arange(rows) < SILENT_FROM) | (lines != BAD_LINE)
    x[speaks, 0] = whole[speaks]
    return replace(given, x=x, lines=lines), whole


@pytest.mark.parametrize("seed", range(4))
def test_one_line_of_five_whose_sensor_falls_silent_is_not_set_aside(seed):
    given, _ = of_five(seed)
    found = run(given, 3, seed, 20)
    assert not found.frozen
    assert found.line_named is None


@pytest.mark.parametrize("seed", range(2))
def test_one_line_of_five_whose_labels_go_bad_is_set_aside_as_ever(seed):
    given, whole = of_five(seed)
    rng = np.random.default_rng(seed + 20)
    since = (np.arange(len(whole)) >= SILENT_FROM) & (given.lines == BAD_LINE)
    poisoned = since & (rng.random(len(whole)) < 0.5)
    flipped = (given.labels + rng.integers(1, 3, len(whole))) % 3
    x = given.x.copy()
    x[:, 0] = whole
    bad = replace(given, x=x, labels=np.where(poisoned, flipped, given.labels), poisoned=poisoned)
    found = run(bad, 3, seed, 20)
    assert found.line_named
    assert found.poisoned_in_champion == 0
