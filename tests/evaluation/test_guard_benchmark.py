"""A short round of the benchmark: the full loop holds what it promises."""

from __future__ import annotations

import json

import pytest

from benchmarks.guard import main, run, stream


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


def test_a_round_can_be_repeated():
    given = stream("stable", 2, 3, 2_600)
    assert run(given, 2, 3) == run(given, 2, 3)
