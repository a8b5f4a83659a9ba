from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from model_store.backends.backend import Backend
from model_store.errors import AuditDamaged, StoreReadOnly
from model_store.snapshots.audit import GENESIS, AuditTrail
from model_store.snapshots.store import SnapshotStore
from model_store.snapshots.verification import verify

FOLDER = "models/m/audit"


def key(n: int) -> str:
    return f"{FOLDER}/{n:08d}.json"


def filled(location: str) -> SnapshotStore:
    store = SnapshotStore.open(location, write=True)
    trail = store.audit("m")
    trail.append("ann", "publish", "first", None, 1, 10, at=100.0)
    trail.append("bob", "freeze", "drill", None, None, 15, at=150.0)
    trail.append("ann", "rollback", "bad hour", 1, 2, 20, at=200.0, details={"to": 1})
    trail.append("cy", "promote", "better", 2, 3, 30, at=300.0)
    return store


def test_entries_are_read_back_in_order_and_chained(location: str) -> None:
    store = filled(location)
    entries = SnapshotStore.open(location).audit("m").entries()
    assert [(e.n, e.actor, e.verb, e.after) for e in entries] == [
        (1, "ann", "publish", 1),
        (2, "bob", "freeze", None),
        (3, "ann", "rollback", 2),
        (4, "cy", "promote", 3),
    ]
    assert entries[2].details == {"to": 1}
    assert [e.previous for e in entries] == [GENESIS, *(e.digest for e in entries[:-1])]
    assert store.audit("m").head() == entries[-1].digest
    assert store.audit("m").verify() == []


def test_an_empty_trail_has_a_head_and_no_entries(location: str) -> None:
    trail = SnapshotStore.open(location).audit("m")
    assert trail.head() == GENESIS
    assert trail.entries() == []
    assert trail.at(1e12) is None


@pytest.mark.parametrize(
    ("moment", "version"), [(99.9, None), (100.0, 1), (199.9, 1), (200.0, 2), (1e9, 3)]
)
def test_what_was_live_at_a_time(location: str, moment: float, version: int | None) -> None:
    entry = filled(location).audit("m").at(moment)
    assert (None if entry is None else entry.after) == version


def test_a_reader_cannot_append(location: str) -> None:
    with pytest.raises(StoreReadOnly):
        SnapshotStore.open(location).audit("m").append("a", "v", "r", None, None, 0)


def test_concurrent_appends_all_land_in_one_chain(location: str) -> None:
    store = SnapshotStore.open(location, write=True)
    start = threading.Barrier(6)

    def work(i: int) -> None:
        # A trail of its own, so that only the store itself can keep them apart.
        trail = AuditTrail(store._backend, FOLDER, store._claim)
        start.wait()
        for j in range(4):
            trail.append(f"t{i}", "verb", str(j), None, None, j)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = store.audit("m").entries()
    assert len(entries) == 24
    assert {(e.actor, e.reason) for e in entries} == {
        (f"t{i}", str(j)) for i in range(6) for j in range(4)
    }
    assert store.audit("m").verify() == []


def test_an_edited_entry_is_named(
    location: str, backend: Backend, overwrite: Callable[[str, bytes], None]
) -> None:
    store = filled(location)
    overwrite(key(3), backend.get(key(3)).replace(b"bad hour", b"good day"))
    assert [p.path for p in store.audit("m").verify()] == [key(3)]
    with pytest.raises(AuditDamaged, match=key(3)):
        store.audit("m").entries()


def test_an_entry_rewritten_with_a_digest_of_its_own_breaks_the_chain(
    location: str, backend: Backend, overwrite: Callable[[str, bytes], None]
) -> None:
    from model_store.sealed import seal, unseal

    store = filled(location)
    value = unseal(backend.get(key(2)), key(2))
    overwrite(key(2), seal({**value, "actor": "mallory"}))
    assert [p.path for p in store.audit("m").verify()] == [key(3)]


def test_a_deleted_entry_is_named(location: str, backend: Backend) -> None:
    store = filled(location)
    backend.delete(key(2))
    assert [p.path for p in store.audit("m").verify()] == [key(2)]
    with pytest.raises(AuditDamaged, match=key(2)):
        store.audit("m").entries()


def test_entries_in_another_order_are_named(
    location: str, backend: Backend, overwrite: Callable[[str, bytes], None]
) -> None:
    store = filled(location)
    two, three = backend.get(key(2)), backend.get(key(3))
    overwrite(key(2), three)
    overwrite(key(3), two)
    assert [p.path for p in store.audit("m").verify()] == [key(2), key(3)]


def test_a_cut_off_tail_shows_by_the_head_in_the_newest_manifest(
    location: str, backend: Backend
) -> None:
    store = filled(location)
    head = store.audit("m").head()
    assert store.publish("m", 1, {"model.onnx": b"x"}, {})["audit_head"] == head
    store.audit("m").append("dan", "freeze", "after it", None, None, 40)
    backend.delete(key(5))
    # Behind the newest manifest's head nothing vouches for the tail; this much is known.
    fresh = SnapshotStore.open(location)
    assert verify(fresh, "m") == []
    backend.delete(key(4))
    assert fresh.audit("m").verify() == []
    assert [p.path for p in verify(fresh, "m")] == [FOLDER]
    assert head in verify(fresh, "m")[0].expected
