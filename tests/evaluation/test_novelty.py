"""What was seen before and what was not, on readings whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from service.evaluation.novelty import Novelty


def drawn(seed, rows, away=0.0, sensors=8):
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(rows, sensors)) + away
    found[rng.random(found.shape) < 0.02] = np.nan
    # Units differ by a million between sensors.
    return (found * 10.0 ** np.linspace(-3, 3, sensors)).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_the_same_kind_are_novel_about_as_seldom_as_promised(seed):
    before = Novelty(drawn(seed, 800))
    assert before.of(drawn(seed + 100, 300)).mean() < 0.2


@pytest.mark.parametrize("seed", range(5))
def test_a_regime_that_lies_elsewhere_is_novel(seed):
    before = Novelty(drawn(seed, 800))
    assert before.of(drawn(seed + 100, 300, away=1.5)).mean() > 0.5


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_without_rows_to_compare_with_nothing_is_novel(rows):
    assert not Novelty(drawn(0, rows)).of(drawn(1, 20, away=9.0)).any()


@pytest.mark.parametrize("value", [1, 3])
def test_a_value_that_was_never_said_is_novel_wherever_it_stands_among_the_others(value):
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(800, 3))
    said = rng.choice([0, 2], 800)
    rows = np.column_stack([numbers, said]).astype(np.float32)
    before = Novelty(rows[:500], (0, 0, 0, 4))
    assert before.of(rows[500:]).mean() < 0.2
    other = rows[500:].copy()
    other[:, 3] = value
    assert before.of(other).all()


def test_a_sensor_that_stands_still_or_never_speaks_says_nothing():
    before = np.ones((300, 2), np.float32)
    before[:, 1] = np.nan
    assert not Novelty(before).of(before[:10]).any()
