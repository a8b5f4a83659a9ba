"""A short round of the benchmark: the full loop holds what it promises."""

from __future__ import annotations

import json

from benchmarks.guard import main, run, stream


def test_a_short_round(tmp_path):
    path = tmp_path / "out.json"
    main(
        f"--json {path} --seeds 2 --first-seed 2000 --workers 1 --classes 2 --stable-rows 4000"
        " --cost-steps 60 --only stable flip_50 abrupt".split()
    )
    found = json.loads(path.read_text())
    assert found["guarded_fraction"] == {"2_class_flip_50": 1.0}
    assert 250 < found["rows_to_guard_p50"]["2_class_flip_50"] <= 400
    assert found["poisoned_in_champion"] == {"2_class_flip_50": 0}
    assert found["false_freezes"] == {"abrupt": 0}
    assert found["false_guards_per_100k"] == {"stable": 0}
    assert found["promotions_per_10k"]["stable"] > 2
    assert found["shadow_cost"] > 1


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
