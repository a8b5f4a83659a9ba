"""Lines differ: one that sends what it kept back is heard alone for a while, and is no poison."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.guard.loop import run
from benchmarks.guard.streams import BAD_LINE, Stream
from service.evaluation.mixture import Mixture, Rates
from service.evaluation.suspicion import Past, Suspicion

ROWS, REQUEST = 9_000, 20


def kept_back(seed, *, hard=True, still=False, each=REQUEST):
    """Five lines in turns, of which one sends 600 rows at once at 4,500 and at 7,500. It is the
    ``hard`` one, whose sensors tell less; and of the others labels are ``still``."""
    rng = np.random.default_rng(seed)
    turns = np.arange(ROWS // each) % 5
    for first in (4_500, 7_500):
        turns[first // each : (first + 600) // each] = BAD_LINE
    lines = np.repeat(turns, each)
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


@pytest.mark.parametrize("still", [False, True])
@pytest.mark.parametrize("each", [100, 300, 600])
def test_nor_does_it_in_large_requests(each, still):
    found = run(kept_back(0, still=still, each=each), 3, 0, each)
    assert not found.frozen
    assert found.line_named is None


@pytest.mark.parametrize("seed", range(2))
def test_labels_that_go_bad_everywhere_freeze_beside_a_harder_line_too(seed):
    given = kept_back(seed)
    rng = np.random.default_rng(seed + 30)
    poisoned = (np.arange(ROWS) >= 6_000) & (rng.random(ROWS) < 0.5)
    labels = np.where(poisoned, (given.labels + rng.integers(1, 3, ROWS)) % 3, given.labels)
    found = run(replace(given, labels=labels, poisoned=poisoned), 3, seed, REQUEST)
    assert found.frozen
    assert found.poisoned_in_champion == 0


def new_line(seed, share, flip=0.5):
    """Two lines; from row 5,000 on a third one sends most of the rows, half of them flipped."""
    rng, onset = np.random.default_rng(seed), 5_000
    turns = [
        2 if at * REQUEST >= onset and rng.random() < share else int(rng.integers(2))
        for at in range(ROWS // REQUEST)
    ]
    lines = np.repeat(turns, REQUEST)
    labels = rng.integers(3, size=ROWS)
    x = rng.normal(size=(ROWS, 8))
    x[:, 0] += 2.5 * (labels - 1)
    x[:, 1] += 1.2 * (labels == 1)
    poisoned = (lines == 2) & (rng.random(ROWS) < flip)
    labels = np.where(poisoned, (labels + rng.integers(1, 3, ROWS)) % 3, labels)
    return Stream(x, labels, poisoned, onset, lines)


@pytest.mark.parametrize("share", [0.9, 0.6])
@pytest.mark.parametrize("seed", range(2))
def test_bad_labels_under_a_new_name_are_no_mixture(seed, share):
    found = run(new_line(seed, share), 3, seed, REQUEST)
    assert found.frozen or found.line_named
    assert found.poisoned_in_champion == 0


RATES = {"easy": Rates(0.05, 0.06, 0.02), "hard": Rates(0.45, 0.40, 0.5)}
USUAL = Rates(0.15, 0.15, 0.14)


def mixture(**rows):
    found = Mixture(USUAL, RATES)
    for line, count in rows.items():
        for _ in range(count):
            found.hear(line)
            found.hear_label(line)
    return found


def test_what_is_expected_follows_from_the_pasts_of_those_who_are_heard():
    # The lesser of both networks' rises.
    assert mixture(hard=300).errors == pytest.approx(0.25)
    assert mixture(hard=300).switches == pytest.approx(0.36)
    assert mixture(hard=150, easy=150).errors == pytest.approx(0.08)
    # They differ by chance, too; and what is easier excuses nothing.
    assert mixture(hard=100, easy=200).errors == 0.0
    assert mixture(easy=300).errors == mixture(easy=300).switches == 0.0
    # Of lines that were not known the usual is expected.
    assert mixture(new=300).errors == mixture(new=300).switches == mixture().errors == 0.0


def test_a_restart_goes_on_with_the_mixture():
    before = mixture(hard=90, easy=10)
    after = Mixture.restored(json.loads(json.dumps(before.to_dict())))
    for each in (before, after):
        for _ in range(50):
            each.hear("hard")
    assert after.errors == pytest.approx(before.errors)
    assert after.switches == pytest.approx(before.switches)
    assert Mixture.restored(None).errors == 0.0


def test_an_excuse_ends_with_the_mixture_that_gave_it():
    """And is added to what silent sensors explain, which is told apart."""
    past = Past([0] * 500)
    suspicion = Suspicion("jump", 1, past, past)
    suspicion.mixture = mixture(hard=100)
    suspicion.expect(0.1)
    assert suspicion.pasts[0].handicap == pytest.approx(0.35)
    for _ in range(5_000):
        suspicion.mixture.hear("easy")
    suspicion.expect()
    assert suspicion.pasts[0].handicap == pytest.approx(0.1)
    suspicion.expect(0.0)
    assert suspicion.pasts[0].handicap == 0.0
    suspicion.expect(0.1)
    kept = Suspicion.restored(json.loads(json.dumps(suspicion.to_dict())), past, past)
    assert kept.pasts[0].handicap == pytest.approx(0.1)
