from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from model_store.backends.backend import Backend
from model_store.errors import AliasConflict, AliasDamaged, ClaimLost, StoreReadOnly
from model_store.snapshots.store import SnapshotStore
from model_store.snapshots.verification import verify

KEY = "models/m/aliases/champion.json"


def test_an_alias_is_made_moved_and_read_elsewhere(location: str) -> None:
    store = SnapshotStore.open(location, write=True)
    reader = SnapshotStore.open(location)
    assert reader.alias("m", "champion") is None
    first = store.set_alias("m", "champion", 1, generation=0, seq=10)
    assert (first.version, first.generation, first.pinned) == (1, 1, False)
    assert reader.alias("m", "champion") == first
    second = store.set_alias("m", "champion", 2, generation=1, seq=20, pinned=True)
    assert reader.alias("m", "champion") == second
    assert reader.aliases("m") == [second]
    assert (second.generation, second.seq, second.pinned) == (2, 20, True)


@pytest.mark.parametrize("generation", [0, 2])
def test_another_generation_is_a_conflict_that_names_both(location: str, generation: int) -> None:
    store = SnapshotStore.open(location, write=True)
    now = store.set_alias("m", "champion", 1, generation=0, seq=1)
    with pytest.raises(AliasConflict, match=f"expected generation {generation}, found 1"):
        store.set_alias("m", "champion", 2, generation=generation, seq=2)
    assert store.alias("m", "champion") == now


def test_moving_an_alias_that_is_not_there_is_a_conflict(location: str) -> None:
    store = SnapshotStore.open(location, write=True)
    with pytest.raises(AliasConflict, match="expected generation 3"):
        store.set_alias("m", "champion", 2, generation=3, seq=2)
    assert store.alias("m", "champion") is None


def test_a_place_without_a_first_value_is_no_alias(location: str, backend: Backend) -> None:
    """What a crash between the two steps of the first change leaves."""
    store = SnapshotStore.open(location, write=True)
    store._aliases_of("m")._place(KEY)
    assert backend.list("models/m/aliases") == [KEY]
    assert store.alias("m", "champion") is None
    assert store.aliases("m") == []
    assert verify(store, "m") == []
    assert store.set_alias("m", "champion", 1, generation=0, seq=1).generation == 1


def test_eight_threads_lose_no_change(location: str) -> None:
    store = SnapshotStore.open(location, write=True)
    start = threading.Barrier(8)
    made: list[int] = []

    def work() -> None:
        start.wait()
        done = 0
        while done < 4:
            now = store.alias("m", "champion")
            generation = 0 if now is None else now.generation
            try:
                alias = store.set_alias("m", "champion", 1, generation=generation, seq=1)
            except AliasConflict:
                continue
            made.append(alias.generation)
            done += 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(1, 33))
    last = SnapshotStore.open(location).alias("m", "champion")
    assert last is not None
    assert last.generation == 32


def test_a_damaged_alias_is_refused_until_repaired(
    location: str, backend: Backend, overwrite: Callable[[str, bytes], None]
) -> None:
    store = SnapshotStore.open(location, write=True)
    store.set_alias("m", "champion", 1, generation=0, seq=1)
    overwrite(KEY, backend.get(KEY).replace(b'"version": 1', b'"version": 7'))
    for read in (SnapshotStore.open(location), store):
        with pytest.raises(AliasDamaged, match=KEY):
            read.alias("m", "champion")
    with pytest.raises(AliasDamaged):
        store.set_alias("m", "champion", 1, generation=1, seq=1)
    fixed = store.set_alias("m", "champion", 1, generation=1, seq=1, repair=True)
    assert store.alias("m", "champion") == fixed
    with pytest.raises(AliasConflict):
        store.set_alias("m", "champion", 1, generation=1, seq=1, repair=True)


def test_a_reader_cannot_move_an_alias(location: str) -> None:
    with pytest.raises(StoreReadOnly):
        SnapshotStore.open(location).set_alias("m", "champion", 1, generation=0, seq=1)


def test_a_name_that_is_no_name_is_refused(location: str) -> None:
    store = SnapshotStore.open(location, write=True)
    with pytest.raises(ValueError, match="alias"):
        store.set_alias("m", "../x", 1, generation=0, seq=1)


@pytest.mark.parametrize("existing", [False, True])
def test_a_change_begun_before_a_take_over_fails_after_it(
    bucket: str, tmp_path, existing: bool
) -> None:
    """The loser checked its claim in time and swaps too late: the newcomer's fence stops it."""
    location = f"{bucket}/{tmp_path.name}"
    old = SnapshotStore.open(location, write=True)
    generation = old.set_alias("m", "champion", 1, generation=0, seq=1).generation
    aliases = old._aliases_of("m")
    name = "champion" if existing else "candidate"
    claim = aliases._claim
    assert claim is not None
    new: list[SnapshotStore] = []
    check = claim.check
    checks = 0

    def checked_then_overtaken() -> None:
        nonlocal checks
        check()
        checks += 1
        # Making an alias checks once more, before its place is made.
        if checks == (1 if existing else 2):
            new.append(SnapshotStore.open(location, write=True, take_over=True))

    claim.check = checked_then_overtaken  # type: ignore[method-assign]
    with pytest.raises(ClaimLost):
        old.set_alias("m", name, 2, generation=generation if existing else 0, seq=2)
    assert len(new) == 1
    assert new[0].alias("m", "candidate") is None
    champion = new[0].alias("m", "champion")
    assert champion is not None
    assert (champion.version, champion.generation) == (1, 1)
    assert new[0].set_alias("m", name, 3, generation=generation if existing else 0, seq=3)
