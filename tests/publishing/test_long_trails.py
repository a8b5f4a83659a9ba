"""A trail grows for years; a start and a snapshot read of it what is new."""

from __future__ import annotations

import pytest

from model_store.errors import AuditDamaged
from model_store.snapshots.audit import SHOWN_ITEMS, AuditTrail
from model_store.snapshots.store import SnapshotStore
from service.learner.requests import TakeSnapshot
from tests.durability.aftermath import MODEL, learning
from tests.line import hand_in, submit
from tests.serving import press

LONG = 1500


@pytest.fixture
def long_trail(tmp_path):
    with learning(press(tmp_path)) as learner:
        hand_in(learner, 0, 2)
        for index in range(LONG):
            learner.store.audit(MODEL).append("kim", "keep", f"{index}", None, None, 2, at=1e9)
    return tmp_path


def test_a_start_and_a_snapshot_read_few_entries(long_trail, monkeypatch):
    read, real = [], AuditTrail._get

    def counted(self, n):
        read.append(n)
        return real(self, n)

    monkeypatch.setattr(AuditTrail, "_get", counted)
    with learning(press(long_trail)) as learner:
        at_start = len(read)
        hand_in(learner, 2, 2)
        submit(learner, TakeSnapshot(MODEL, "demand"))
    assert at_start < 20
    assert len(read) < 60


def test_moves_are_the_entries_backwards_and_each_is_read_once(tmp_path, monkeypatch):
    store = SnapshotStore.open(tmp_path, write=True)
    trail = store.audit("m")
    for index in range(20):
        trail.append("a", "promote", "", index or None, index + 1, index)
    reader = SnapshotStore.open(tmp_path).audit("m")
    read, real = [], AuditTrail._read

    def counted(self, n):
        read.append(n)
        return real(self, n)

    monkeypatch.setattr(AuditTrail, "_read", counted)
    moves = reader.moves()
    assert [next(moves).n for _ in range(3)] == [20, 19, 18]
    trail.append("a", "promote", "", 20, 21, 20)
    assert [move.n for move in reader.moves()] == list(range(21, 0, -1))
    seen = len(read)
    assert [move.after for move in reader.moves()] == list(range(21, 0, -1))
    assert len(read) - seen <= 1
    store.close()


def test_a_broken_chain_is_told_where_it_is_met(tmp_path):
    store = SnapshotStore.open(tmp_path, write=True)
    trail = store.audit("m")
    for index in range(6):
        trail.append("a", "promote", "", None, index + 1, index)
    path = tmp_path / "models/m/audit/00000003.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"actor": "a"', b'"actor": "b"'))
    moves = SnapshotStore.open(tmp_path).audit("m").moves()
    assert [next(moves).n for _ in range(3)] == [6, 5, 4]
    with pytest.raises(AuditDamaged, match="00000003"):
        next(moves)
    store.close()


def test_long_lists_and_texts_are_shown_by_their_beginning(tmp_path):
    store = SnapshotStore.open(tmp_path, write=True)
    details = {"selection": {"batch_ids": [f"b{i}" for i in range(300_001)]}, "short": [1, 2]}
    store.audit("m").append("a", "rebase", "x" * 10_000, None, 1, 1, details=details)
    (entry,) = SnapshotStore.open(tmp_path).audit("m").entries()
    shown = entry.details["selection"]["batch_ids"]
    assert (len(shown["first"]), shown["items"]) == (SHOWN_ITEMS, 300_001)
    assert entry.details["short"] == [1, 2]
    assert "10000 characters" in entry.reason
    assert SnapshotStore.open(tmp_path).audit("m").verify() == []
    store.close()
