"""A short round of the benchmark: the full loop holds what it promises."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.guard import family_stream, main, run, stream
from benchmarks.guard.streams import BAD_LINE, BLOCK_ROWS, POISON_ROWS


def round_of(tmp_path, arguments):
    path = tmp_path / "out.json"
    main(f"--json {path} --first-seed 2000 --workers 1 --classes 2 --rows 1 {arguments}".split())
    return json.loads(path.read_text())


def test_a_short_round(tmp_path):
    arguments = "--families old --seeds 1 --stable-rows 1500 --cost-steps 20 --only stable flip_50"
    found = round_of(tmp_path, arguments)
    assert found["guarded_fraction"] == {"2_class_flip_50": 1.0}
    assert 250 < found["rows_to_guard_p50"]["2_class_flip_50"] <= 600
    assert found["poisoned_in_champion"] == {"2_class_flip_50": 0}
    assert found["false_guards_per_100k"] == {"stable": 0}
    assert found["shadow_cost"] > 1


def test_a_short_round_of_lines_names_the_bad_one(tmp_path):
    found = round_of(
        tmp_path,
        "--families lines --rows 20 --seeds 1 --stable-rows 1500 --cost-steps 20 "
        "--only stable flip_50",
    )
    case = "lines.20.2_class_flip_50"
    assert found["guarded_fraction"] == {case: 1.0}
    assert found["line_named_fraction"][case] == 1.0
    assert found["poisoned_in_champion"][case] == 0
    assert found["false_freezes"]["lines.20"] == 0


@pytest.mark.slow
def test_a_longer_round(tmp_path):
    arguments = (
        "--families old --seeds 2 --stable-rows 4000 --cost-steps 60 --only stable flip_50 abrupt"
    )
    found = round_of(tmp_path, arguments)
    assert found["guarded_fraction"] == {"2_class_flip_50": 1.0}
    assert found["false_freezes"] == {"abrupt": 0}
    assert found["false_guards_per_100k"] == {"stable": 0}
    assert found["promotions_per_10k"]["stable"] > 2


def test_poison_is_where_the_stream_says_it_is():
    clean, poisoned = stream("stable", 4, 1, 9_000), stream("flip_30", 4, 1, 9_000)
    assert clean.onset == poisoned.onset
    inside = slice(poisoned.onset, poisoned.onset + 2_000)
    assert 500 < poisoned.poisoned.sum() < 700
    assert poisoned.poisoned[inside].sum() == poisoned.poisoned.sum()
    # The same line but for the flipped labels.
    assert ((clean.labels != poisoned.labels) == poisoned.poisoned).all()


@pytest.mark.parametrize("batch", [1, 20, 100])
def test_labels_of_the_family_of_blocks_stand_in_blocks(batch):
    given = family_stream("blocks", "stable", 4, 1, batch, 20_000)
    ends = np.flatnonzero(np.diff(given.labels)) + 1
    lengths = np.diff(ends)
    assert lengths.min() >= BLOCK_ROWS[0]
    assert lengths.max() <= BLOCK_ROWS[1]
    # AR(.99): what a sensor reads says much of what it reads next.
    inside = given.x[ends[0] : ends[1]]
    assert all(np.corrcoef(s[1:], s[:-1])[0, 1] > 0.9 for s in inside.T)


@pytest.mark.parametrize("batch", [1, 20, 100])
def test_of_the_family_of_lines_one_alone_is_poisoned(batch):
    given = family_stream("lines", "flip_30", 2, 1, batch)
    assert set(given.lines[given.poisoned]) == {BAD_LINE}
    its = (given.lines == BAD_LINE) & (np.arange(len(given.labels)) >= given.onset)
    assert 0.27 < given.poisoned[its].mean() < 0.33
    # One request is one line's.
    whole = given.lines[: len(given.lines) // batch * batch].reshape(-1, batch)
    assert (whole == whole[:, :1]).all()


def test_of_the_family_of_late_regimes_a_class_comes_late():
    labels = family_stream("late_regimes", "stable", 4, 1, 1, 10_000).labels
    assert np.flatnonzero(labels == 3)[0] >= 2_500
    assert set(labels) == {0, 1, 2, 3}


def test_a_round_can_be_repeated():
    given = stream("stable", 2, 3, 2_600)
    assert run(given, 2, 3) == run(given, 2, 3)


@pytest.mark.parametrize(
    ("seed", "rows"),
    # A learner that is lost in one request; a class that nobody has seen before, twice; a regime
    # that is harder than those before.
    [(250, 13_000), (207, 6_000), (249, 4_000), (376, 6_000)],
)
def test_a_regime_that_appears_or_returns_does_not_freeze(seed, rows):
    given = family_stream("late_regimes", "stable", 4, seed, 100, rows)
    assert run(given, 4, seed, 100).guard_row is None


@pytest.mark.parametrize(("seed", "batch", "classes"), [(103, 20, 2), (116, 100, 4), (129, 100, 4)])
def test_poison_that_begins_with_a_new_regime_is_found_before_it_ends(seed, batch, classes):
    given = family_stream("late_regimes", "flip_30", classes, seed, batch)
    found = run(given, classes, seed, batch)
    assert found.guard_row is not None
    assert 0 <= found.guard_row - given.onset < POISON_ROWS


@pytest.mark.parametrize(("seed", "batch", "classes"), [(132, 100, 2), (103, 1, 4)])
def test_no_candidate_is_promoted_while_a_line_that_taught_it_is_doubted(seed, batch, classes):
    found = run(family_stream("lines", "flip_30", classes, seed, batch), classes, seed, batch)
    assert found.line_named
    assert found.poisoned_in_champion == 0


def test_lines_that_were_bad_by_chance_long_ago_do_not_excuse_the_bad_one():
    found = run(family_stream("lines", "flip_30", 2, 108, 20), 2, 108, 20)
    assert found.line_named
