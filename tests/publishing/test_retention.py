"""Which versions may go: by value, and in a store under a learner's hands."""

from __future__ import annotations

import pytest

from model_store.errors import SnapshotMissing
from model_store.log.log import EventLog
from model_store.snapshots.store import SnapshotStore
from service.manifest import GRAPH
from service.publishing.retention import Kept, Retention, prunable

VERSIONS = range(1, 9)


def each(version: int) -> Kept:
    return Kept(version, f"weights {version}")


def test_the_newest_stay() -> None:
    assert prunable(VERSIONS, each, keep_last=3) == [1, 2, 3, 4, 5]


def test_what_anything_holds_stays() -> None:
    assert prunable(VERSIONS, each, keep_last=1, spared={2, 3, 5, 6}) == [1, 4, 7]


def test_a_damaged_snapshot_is_neither_pruned_nor_counted() -> None:
    found = prunable(VERSIONS, lambda v: None if v in (1, 8) else each(v), keep_last=2)
    assert found == [2, 3, 4, 5]


def test_the_very_last_cannot_be_given_up() -> None:
    with pytest.raises(ValueError, match="keep_last"):
        prunable([1], each, keep_last=0)


def test_of_snapshots_of_the_same_weights_in_a_row_the_newest_counts_alone() -> None:
    same = {4: "a", 5: "a", 6: "a", 8: "b", 7: "b"}
    found = prunable(VERSIONS, lambda v: Kept(v, same.get(v, str(v))), keep_last=3)
    assert found == [1, 2, 4, 5, 7]


def test_what_is_spared_is_not_even_read() -> None:
    def only_the_last(version: int) -> Kept:
        assert version > 6
        return each(version)

    assert prunable(VERSIONS, only_the_last, keep_last=2, spared=range(1, 7)) == []


DAY = 86400.0


@pytest.fixture
def store(tmp_path):
    opened = SnapshotStore.open(tmp_path / "store", write=True)
    for version in range(1, 7):
        files = {GRAPH: f"graph {version}".encode()}
        opened.publish("m", version, files, {"seq": version, "cause": "demand"})
    yield opened
    opened.close()


@pytest.fixture
def events(tmp_path):
    with EventLog.open(tmp_path / "log") as opened:
        yield opened


def pruned(store, events, now, days=30.0) -> list[int]:
    retention = Retention(store, events, lambda: now)
    return retention.prune("m", keep_last=1, keep_aliased_days=days)


def champions(store, *times) -> None:
    trail = store.audit("m")
    for version, at in enumerate(times, 1):
        before = version - 1 or None
        trail.append("apical", "promote", "", before, version, version, at=at)


def test_a_clock_that_jumps_forward_makes_no_champion_old(store, events) -> None:
    champions(store, *(1e9 + hour * 3600 for hour in range(4)))
    assert pruned(store, events, 1e9 + 40 * DAY) == [5]


def test_a_clock_that_jumped_between_two_champions_makes_none_old(store, events) -> None:
    champions(store, 1e9, 1e9 + 3600, 1e9 + 40 * DAY, 1e9 + 40 * DAY + 60)
    assert pruned(store, events, 1e9 + 40 * DAY + 120) == [5]


def test_a_clock_that_was_set_back_makes_none_old(store, events) -> None:
    champions(store, 1e9 + 40 * DAY, 1e9 + 40 * DAY + 60, 1e9, 1e9 + 60)
    assert pruned(store, events, 1e9 + 120) == [5]


def test_champions_that_are_old_by_the_trails_own_days_go(store, events) -> None:
    champions(store, *(1e9 + day * DAY for day in range(4)))
    assert pruned(store, events, 1e9 + 4 * DAY, days=2.5) == [1, 5]


def test_what_somebody_holds_stays_until_it_is_let_go(store, events) -> None:
    retention = Retention(store, events, lambda: 1e9)
    with retention.holding("m", 2):
        assert 2 not in retention.prune("m", keep_last=3, keep_aliased_days=1)
    assert retention.prune("m", keep_last=3, keep_aliased_days=1) == [2]


def test_what_is_being_deleted_cannot_be_held(store, events) -> None:
    retention, real = Retention(store, events, lambda: 1e9), store.delete

    def meanwhile(model, version, *arguments, **more):
        with pytest.raises(SnapshotMissing, match=f"snapshot {version} is being deleted"):
            retention.hold(model, version)
        return real(model, version, *arguments, **more)

    store.delete = meanwhile
    assert retention.prune("m", keep_last=5, keep_aliased_days=1) == [1]
