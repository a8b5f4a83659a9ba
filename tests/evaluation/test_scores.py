"""Prequential scores against river's metrics on the same predictions."""

from __future__ import annotations

import numpy as np
import pytest
from river import metrics
from sklearn.calibration import calibration_curve

from service.evaluation.prequential import Prequential


def stream(rows: int, classes: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    logits = rng.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels]
    p = np.exp(logits)
    return labels, (p / p.sum(1, keepdims=True)).astype(np.float32)


def fed(labels, p, window, sizes):
    score = Prequential(p.shape[1], window)
    start = 0
    for size in sizes:
        score.observe(labels[start : start + size], p[start : start + size])
        start += size
    return score


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_are_rivers(classes):
    labels, p = stream(700, classes)
    summary = fed(labels, p, 100, [1, 99, 300, 250, 50]).summary()
    for span, rows in (("overall", slice(0, 700)), ("window", slice(600, 700))):
        accuracy, f1, loss = metrics.Accuracy(), metrics.MacroF1(), metrics.CrossEntropy()
        for y, q in zip(labels[rows], p[rows], strict=True):
            guess = int(q.argmax())
            accuracy.update(int(y), guess)
            f1.update(int(y), guess)
            loss.update(int(y), {c: float(v) for c, v in enumerate(q)})
        assert summary[span]["accuracy"] == pytest.approx(accuracy.get())
        assert summary[span]["macro_f1"] == pytest.approx(f1.get())
        assert summary[span]["log_loss"] == pytest.approx(loss.get(), rel=1e-6)


def test_before_the_first_label_there_is_no_score():
    figures = Prequential(2, 10).summary()["overall"]
    assert figures["rows"] == 0
    assert figures["accuracy"] is None


def test_a_restored_score_goes_on_as_if_nothing_had_happened():
    labels, p = stream(500, 3)
    whole = fed(labels, p, 64, [10] * 50)
    half = fed(labels[:230], p[:230], 64, [10] * 23)
    again = Prequential(3, 64)
    again.restore(half.arrays())
    for start in range(230, 500, 10):
        again.observe(labels[start : start + 10], p[start : start + 10])
    assert again.summary() == whole.summary()


def test_another_window_length_keeps_the_rows_that_fit():
    labels, p = stream(300, 3)
    saved = fed(labels, p, 64, [10] * 30)
    shorter = Prequential(3, 20)
    shorter.restore(saved.arrays())
    assert shorter.summary()["window"] == fed(labels, p, 20, [10] * 30).summary()["window"]


def test_a_batch_longer_than_the_window_leaves_its_last_rows():
    labels, p = stream(50, 2)
    assert (
        fed(labels, p, 10, [50]).summary()["window"]
        == fed(labels, p, 10, [1] * 50).summary()["window"]
    )


def test_the_calibration_error_is_what_scikit_learns_curve_says():
    rng = np.random.default_rng(0)
    score, said, truth = Prequential(2, window=300), [], []
    for _ in range(100):
        chance = rng.random(10)
        labels = (rng.random(10) < chance**2).astype(np.int64)
        probabilities = np.stack([1 - chance, chance], 1).astype(np.float32)
        score.observe(labels, probabilities)
        said.append(probabilities)
        truth.append(labels)
    for span, rows in (("overall", 1000), ("window", 300)):
        p, y = np.concatenate(said)[-rows:], np.concatenate(truth)[-rows:]
        confidence, right = p.max(1), p.argmax(1) == y
        accurate, confident = calibration_curve(right, confidence, n_bins=15)
        held = np.histogram(confidence, bins=np.linspace(0, 1, 16))[0]
        expected = (np.abs(accurate - confident) * held[held > 0]).sum() / rows
        assert score.summary()[span]["calibration_error"] == pytest.approx(expected, abs=1e-6)
    again = Prequential(2, window=300)
    again.restore(score.arrays())
    assert again.summary() == score.summary()
    # A snapshot of a version that kept no confidence.
    old = {k: v for k, v in score.arrays().items() if k not in ("bins", "window.confidence")}
    again = Prequential(2, window=300)
    again.restore(old)
    assert again.summary()["overall"]["calibration_error"] is None
    assert again.summary()["overall"]["accuracy"] == score.summary()["overall"]["accuracy"]


def test_one_row_is_scored_as_several_are_to_the_bit():
    labels, p = stream(300, 3)
    p[7], p[8], p[9] = np.nan, [np.inf, 0, 0], [0, 1, 0]
    one, several = Prequential(3, 50), Prequential(3, 50)
    with np.errstate(invalid="ignore"):
        for k in range(len(labels)):
            said = p[k : k + 1].argmax(1)
            one._one(int(labels[k]), int(said[0]), p[k])
            several._several(labels[k : k + 1], said, p[k : k + 1])
    theirs = several.arrays()
    for name, array in one.arrays().items():
        assert array.tobytes() == theirs[name].tobytes(), name
