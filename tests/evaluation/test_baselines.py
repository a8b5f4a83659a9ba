"""The baselines against what a plain loop finds, on a stream whose labels come in blocks."""

from __future__ import annotations

import numpy as np
import pytest

from service.evaluation.baselines import Baselines, sentence
from service.evaluation.prequential import Prequential


def stream(seed, rows=900):
    """Labels in blocks, answers right in nine of ten rows, and three lines by turns."""
    rng = np.random.default_rng(seed)
    lines = np.array([f"line {i % 3}" for i in range(rows)])
    labels = np.zeros(rows, np.int64)
    for line in np.unique(lines):
        mine = np.flatnonzero(lines == line)
        blocks = np.repeat(rng.integers(0, 3, len(mine)), 40)[: len(mine)]
        labels[mine] = blocks
    predicted = np.where(rng.random(rows) < 0.9, labels, (labels + 1) % 3)
    return labels, predicted, lines


def by_hand(labels, predicted, lines, last_rows):
    last, seen, hits = {}, np.zeros(3, int), []
    for label, said, line in zip(labels, predicted, lines, strict=True):
        common = seen.argmax() if seen.any() else -1
        hits.append((said == label, last.get(line) == label, common == label))
        last[line] = label
        seen[label] += 1
    network, repeated, common = np.mean(hits[-last_rows:], axis=0)
    return repeated, common, (network - repeated) / (1 - repeated)


@pytest.mark.parametrize("batch", [1, 7])
def test_both_baselines_are_what_a_plain_loop_finds(batch):
    labels, predicted, lines = stream(0)
    score = Prequential(3, 300)
    order = []
    for line in np.unique(lines):
        mine = np.flatnonzero(lines == line)
        order += [mine[i : i + batch] for i in range(0, len(mine), batch)]
    order.sort(key=lambda part: part[0])
    for part in order:
        score.observe(labels[part], np.eye(3)[predicted[part]], str(lines[part[0]]))
    at = np.concatenate(order)
    for span, rows in (("overall", 900), ("window", 300)):
        figures = score.summary()[span]
        found = [figures[k] for k in ("last_label_accuracy", "majority_accuracy", "kappa_temporal")]
        assert found == pytest.approx(by_hand(labels[at], predicted[at], lines[at], rows))


def test_they_go_on_after_a_restart_and_in_another_window():
    labels, predicted, lines = stream(1)

    def scored(score, first, last):
        for row in range(first, last):
            score.observe(labels[row : row + 1], np.eye(3)[predicted[row : row + 1]], lines[row])
        return score

    whole = scored(Prequential(3, 200), 0, 900).summary()
    half = scored(Prequential(3, 200), 0, 450)
    for window in (200, 100):
        again = Prequential(3, window)
        again.restore(half.arrays())
        assert scored(again, 450, 900).summary()["overall"] == whole["overall"]
        if window == 200:
            assert again.summary() == whole


def test_what_an_older_version_saved_has_no_baseline_yet():
    score = Prequential(2, 10)
    score.observe(np.array([0]), np.eye(2)[[0]])
    old = {k: v for k, v in score.arrays().items() if not k.startswith("baseline")}
    again = Prequential(2, 10)
    again.restore(old)
    figures = again.summary()["overall"]
    assert (figures["rows"], figures["last_label_accuracy"]) == (1, None)


def test_a_network_worse_than_the_last_label_is_told_so():
    labels, predicted, lines = stream(2)
    beside = Baselines(3, 900)
    for label, said, line in zip(labels, predicted, lines, strict=True):
        beside.observe(np.array([label]), np.array([said]), line)
    figures = beside.summary()["window"] | {"accuracy": 0.9, "rows": 900}
    assert "worse than repeating the last label: 90.0% of the last 900" in sentence(figures)
    assert sentence(figures | {"accuracy": 0.999}) is None
    assert sentence(figures | {"rows": 99}) is None


def test_where_the_last_label_is_always_right_nothing_is_better():
    beside = Baselines(2, 10)
    for _ in range(30):
        beside.observe(np.array([1]), np.array([1]), "")
    assert beside.summary()["window"]["kappa_temporal"] is None
