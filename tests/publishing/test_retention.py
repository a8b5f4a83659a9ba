from __future__ import annotations

import pytest

from service.publishing.retention import prunable

MANIFESTS: dict[int, dict[str, int]] = {v: {"version": v} for v in range(1, 9)}


def test_the_newest_stay() -> None:
    assert prunable(MANIFESTS, MANIFESTS, keep_last=3) == [1, 2, 3, 4, 5]


def test_what_anything_holds_stays() -> None:
    found = prunable(MANIFESTS, MANIFESTS, keep_last=1, marked=[2], aliased={3}, named={5, 6})
    assert found == [1, 4, 7]


def test_a_damaged_snapshot_is_neither_pruned_nor_counted() -> None:
    sound = {v: m for v, m in MANIFESTS.items() if v not in (1, 8)}
    assert prunable(MANIFESTS, sound, keep_last=2) == [2, 3, 4, 5]


def test_the_very_last_cannot_be_given_up() -> None:
    with pytest.raises(ValueError, match="keep_last"):
        prunable([1], MANIFESTS, keep_last=0)
