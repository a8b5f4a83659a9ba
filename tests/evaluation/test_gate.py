"""The gate: who is promoted, on which rows, and what its test is worth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from service.evaluation.gate import Gate, bandwidth, brier, long_run_variance, paired_test


def ar(rng: np.random.Generator, rows: int, phi: float) -> np.ndarray:
    drawn = rng.normal(size=rows)
    for row in range(1, rows):
        drawn[row] = phi * drawn[row - 1] + np.sqrt(1 - phi**2) * drawn[row]
    return drawn


def rows_of(rng: np.random.Generator, rows: int, accuracy: float, labels: np.ndarray) -> np.ndarray:
    """Probabilities `(rows, 2)`, 0.9 for the right class with chance `accuracy`, else 0.1."""
    right = rng.random(rows) < accuracy
    of_label = np.where(right, 0.9, 0.1)
    return np.where(np.eye(2, dtype=bool)[labels], of_label[:, None], 1 - of_label[:, None])


def fed(gate: Gate, rows: int, champion: float, candidate: float, seed: int = 0, step: int = 1):
    """Feed batches of `step` rows; the verdict, if any."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=rows)
    a, b = rows_of(rng, rows, champion, labels), rows_of(rng, rows, candidate, labels)
    for start in range(0, rows, step):
        part = slice(start, start + step)
        verdict = gate.observe(100 + start // step, labels[part], a[part], b[part])
        if verdict is not None:
            return verdict
    return None


def test_one_lag_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=500), rng.normal(0.05, 1, size=500)
    ours = paired_test(b - a, lags=1)
    theirs = stats.ttest_rel(b, a, alternative="greater")
    assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-12)
    # Normal instead of t with 499 degrees of freedom.
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=1e-3)


def test_the_long_run_variance_of_autocorrelated_rows_is_known():
    series = ar(np.random.default_rng(1), 200_000, 0.5)
    assert long_run_variance(series, 1) == pytest.approx(1, rel=0.05)
    # (1 + φ)/(1 - φ)
    assert long_run_variance(series, 100) == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize(("phi", "at_most"), [(0.0, 0.07), (0.6, 0.09)])
def test_equal_networks_are_rejected_about_as_often_as_promised(phi, at_most):
    rng = np.random.default_rng(2)
    rejected = [paired_test(ar(rng, 500, phi)).p_value < 0.05 for _ in range(1_000)]
    assert 0.03 < np.mean(rejected) < at_most
    if phi:
        # What the plain test would do to them.
        naive = [paired_test(ar(rng, 500, phi), lags=1).p_value < 0.05 for _ in range(1_000)]
        assert np.mean(naive) > 0.15


def test_bandwidth_never_exceeds_the_rows():
    assert bandwidth(500) == 30
    assert bandwidth(1) == 1


def test_the_brier_score_is_bounded_and_zero_for_certainty():
    labels = np.array([0, 2])
    assert brier(labels, np.eye(3)[labels]).tolist() == [0, 0]
    assert brier(labels, np.eye(3)[[1, 0]]).tolist() == [1, 1]


def test_an_equal_candidate_is_promoted_and_the_verdict_says_on_what():
    gate = Gate()
    gate.enter(3)
    verdict = fed(gate, 600, 0.9, 0.9, step=7)
    assert verdict.promoted
    assert (verdict.version, verdict.rows) == (3, 504)
    assert (verdict.first_seq, verdict.last_seq) == (100, 171)
    assert gate.candidate is None


def test_a_worse_candidate_is_rejected():
    gate = Gate()
    gate.enter(3)
    verdict = fed(gate, 600, 0.95, 0.85)
    assert not verdict.promoted
    assert verdict.p_value < 0.01
    assert verdict.candidate_score > verdict.champion_score


def test_identical_networks_are_not_significantly_different():
    assert paired_test(np.zeros(50)) == (0.0, 0.5)
    assert paired_test(np.full(50, 0.1)).p_value == 0


def test_unlabelled_rows_do_not_count():
    gate = Gate(probation_rows=4)
    gate.enter(1)
    half = np.full((3, 2), 0.5)
    assert gate.observe(1, np.array([0, -1, 1]), half, half) is None
    assert gate.rows == 2
    assert gate.observe(2, np.array([-1, -1, -1]), half, half) is None
    assert gate.observe(3, np.array([0, 1, -1]), half, half).rows == 4


def test_no_verdict_while_it_is_held_and_all_rows_count_after():
    gate = Gate(probation_rows=4)
    gate.enter(1)
    labels, half = np.array([0, 1, 0, 1]), np.full((4, 2), 0.5)
    assert gate.observe(1, labels, half, half, hold=True) is None
    assert gate.observe(2, labels, half, half, hold=True) is None
    assert gate.observe(3, labels, half, half).rows == 12


def test_snapshots_faster_than_probation_still_get_verdicts():
    gate = Gate(probation_rows=50)
    half = np.full((1, 2), 0.5)
    judged = []
    for row in range(500):
        if row % 20 == 0:
            gate.enter(row)
        verdict = gate.observe(row, np.array([row % 2]), half, half)
        if verdict is not None:
            judged.append(verdict.version)
    # Each verdict is followed by the newest snapshot of the time.
    assert len(judged) == 10
    assert judged[:3] == [0, 40, 80]


def test_discard_drops_the_candidate_and_the_one_in_the_queue():
    gate = Gate()
    for version in (1, 2, 3):
        gate.enter(version)
    assert gate.discard() == [1, 3]
    assert fed(gate, 600, 0.9, 0.9) is None


def test_another_champion_restarts_the_probation():
    gate = Gate(probation_rows=100)
    gate.enter(1)
    assert fed(gate, 90, 0.9, 0.9) is None
    gate.champion_changed()
    verdict = fed(gate, 100, 0.9, 0.9)
    assert verdict.rows == 100


def test_the_candidates_errors_are_there_after_its_verdict():
    gate = Gate(probation_rows=4)
    gate.enter(1)
    labels = np.array([0, 1, 0, 1])
    gate.observe(1, labels, np.full((4, 2), 0.5), np.eye(2)[[0, 0, 0, 0]])
    assert gate.candidate_errors.tolist() == [0, 1, 0, 1]
