"""Lines differ: one that sends what it kept back is heard alone for a while, and is no poison."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.guard.loop import run
from benchmarks.guard.streams import BAD_LINE, Stream
from service.evaluation.guard import Guard
from service.evaluation.lines import Lines
from service.evaluation.suspicion import Expected

ROWS, REQUEST = 9_000, 20


def kept_back(seed, *, hard=True, still=False):
    """Five lines in turns, of which one sends 600 rows at once at 4,500 and at 7,500. It is the
    ``hard`` one, whose sensors tell less; and of the others labels are ``still``."""
    rng = np.random.default_rng(seed)
    turns = np.arange(ROWS // REQUEST) % 5
    for first in (4_500, 7_500):
        turns[first // REQUEST : (first + 600) // REQUEST] = BAD_LINE
    lines = np.repeat(turns, REQUEST)
    labels = rng.integers(3, size=ROWS)
    if still:
        blocks = np.repeat(rng.integers(3, size=ROWS // 500), 500)
        labels = np.where(lines == BAD_LINE, labels, blocks)
    x = rng.normal(size=(ROWS, 8))
    if hard:
        x[lines == BAD_LINE, :2] *= 2.2
    x[:, 0] += 2.5 * (labels - 1)
    x[:, 1] += 1.2 * (labels == 1)
    return Stream(x, labels, np.zeros(ROWS, bool), 6_000, lines)


@pytest.mark.parametrize("still", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_what_a_harder_line_had_kept_back_freezes_nothing(seed, still):
    found = run(kept_back(seed, still=still), 3, seed, REQUEST)
    assert not found.frozen
    assert found.line_named is None
    assert found.promotions > 1


@pytest.mark.parametrize("seed", range(2))
def test_labels_that_go_bad_everywhere_freeze_beside_a_harder_line_too(seed):
    given = kept_back(seed)
    rng = np.random.default_rng(seed + 30)
    poisoned = (np.arange(ROWS) >= 6_000) & (rng.random(ROWS) < 0.5)
    labels = np.where(poisoned, (given.labels + rng.integers(1, 3, ROWS)) % 3, given.labels)
    found = run(replace(given, labels=labels, poisoned=poisoned), 3, seed, REQUEST)
    assert found.frozen
    assert found.poisoned_in_champion == 0


def test_what_is_expected_follows_from_the_pasts_of_those_who_are_heard():
    lines, whole, rng = Lines(), Guard(), np.random.default_rng(0)
    rates, lively = {"easy": 0.05, "hard": 0.45}, {"easy": 0.02, "hard": 1.0}
    last = dict.fromkeys(rates, 0)
    for seq in range(1, 241):
        line = "hard" if seq % 4 == 0 else "easy"
        labels = []
        for _ in range(10):
            if rng.random() < lively[line]:
                last[line] = int(rng.integers(2))
            labels.append(last[line])
        told = np.array(labels)
        said = [np.eye(2)[told ^ (rng.random(10) < rates[line])] for _ in range(2)]
        lines.observe(seq, line, told, *said)
        whole.observe(seq, told, *said, line)
    expected = lines.mixed({"hard": 300}, whole)
    assert expected.errors == pytest.approx(0.3, abs=0.08)
    assert expected.switches == pytest.approx(0.37, abs=0.1)
    # They differ by chance, too.
    assert lines.mixed({"hard": 100, "easy": 300}, whole).errors is None
    assert lines.mixed({"easy": 300}, whole) == Expected(None, 0.0)
    # Of lines that are not known nothing else is expected than of all.
    assert lines.mixed({"new": 300}, whole) == Expected(None, 0.0)
    assert lines.mixed({}, whole) == Lines().mixed({"hard": 300}, whole) == Expected()
