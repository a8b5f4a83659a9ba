"""A learner on a truncated or altered log: refused, or a state that some prefix explains."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from model_store.errors import FormatUnknown, LogDamaged, StorageError
from service.history.verbs import Order, Rollback
from service.learner.requests import LateLabels, TakeSnapshot
from service.state import State, same
from tests.durability.aftermath import MODEL, copy_log, copy_store, history, learning, stored_states
from tests.kernel import born
from tests.line import NOW, posted, readings, submit
from tests.serving import press

DB, WAL, HIGH = "events.sqlite3", "events.sqlite3-wal", "events.high"
EVENTS = 36
PAGE = 4096


class Crashed(NamedTuple):
    """The files that a killed learner left, and the state after each of its events."""

    folder: Path
    states: list[State]
    snapshot_seq: int


@pytest.fixture(scope="module")
def crashed(tmp_path_factory) -> Crashed:
    """Half of the events in the file and half in the -wal; a snapshot, a rollback, late labels."""
    here, there = (tmp_path_factory.mktemp(name) for name in ("here", "there"))
    with learning(press(here)) as learner:
        teach(learner, 1, EVENTS // 2)
    with learning(press(here)) as learner:
        submit(learner, Order(MODEL, Rollback(2), "test", "test"))
        taken = submit(learner, TakeSnapshot(MODEL, "demand"))
        copy_store(here, there)
        teach(learner, EVENTS // 2 + 2, EVENTS)
        copy_log(here, there)
        newborn = born(press(here).models[0])
        states = history(learner.events, stored_states(learner.store), newborn)
        assert len(states) == EVENTS + 1
        assert same(states[-1], learner.models[MODEL].published)
    return Crashed(there, states, taken["seq"])


def teach(learner, first: int, last: int) -> None:
    rng = np.random.default_rng(first)
    for seq in range(first, last + 1):
        batch = readings(seq, 3)
        labels = rng.integers(0, 2, 3)
        if seq % 3 == 0:
            submit(learner, posted(batch, None, f"b{seq}"))
            submit(learner, LateLabels(MODEL, f"b{seq}", labels, NOW))
        else:
            submit(learner, posted(batch, labels, f"b{seq}"))


def examine(crashed: Crashed, folder: Path) -> str:
    """Start a learner on damaged files; what it says is true, or it says nothing."""
    try:
        with learning(press(folder)) as learner:
            live = learner.models[MODEL].published
            assert live.seq >= crashed.snapshot_seq
            # A truncated or altered log may have lost its end, if nothing proves that there was
            # more; the state is that of a prefix all the same, bitwise.
            assert same(live, crashed.states[live.seq])
            assert not learner.events.gaps(MODEL)
            try:
                submit(learner, posted(readings(99, 2), np.array([0, 1]), "after"))
            except LogDamaged as refusal:
                # The events are sound; of what is remembered for retries something is not.
                tells(refusal, str(folder / "log"))
                return "refused later"
            return "whole" if live.seq == EVENTS else "prefix"
    except FormatUnknown as refusal:
        tells(refusal, str(folder / "log"), "restore a backup")
        return "another format"
    except StorageError as refusal:
        tells(refusal, str(folder / "log"), "--accept-loss")
    try:
        accept_loss(crashed, folder)
    except LogDamaged as refusal:
        # Damage to what a start does not read again, such as events that a snapshot covers.
        tells(refusal, str(folder / "log"))
        return "refused for good"
    return "refused"


def tells(refusal: StorageError, *needed: str) -> None:
    """The message names the file and a way out."""
    assert [part for part in needed if part not in str(refusal)] == []


def accept_loss(crashed: Crashed, folder: Path) -> None:
    """Going on without what is missing: a prefix's weights, and the record of what is gone."""
    with learning(press(folder), accept_loss=True) as learner:
        live = learner.models[MODEL].published
        lost = [(gap.from_seq, gap.to_seq) for gap in learner.events.gaps(MODEL)]
        last = learner.events.last_seq(MODEL)
        assert live.seq == last
        kept = max((seq for seq in range(last + 1) if not within(seq, lost)), default=0)
        # What the newest snapshot holds is not lost with its events; a start that got further
        # before it was refused may have taken one more.
        store = learner.store
        newest = max(store.manifest(MODEL, v)["seq"] for v in store.versions(MODEL))
        explained = crashed.states[max(kept, newest)]
        assert same(live._replace(seq=0), explained._replace(seq=0))
        answer = submit(learner, posted(readings(99, 2), np.array([0, 1]), "after"))
        assert b'"learned":[true,true]' in answer
        after = learner.models[MODEL].published
    with learning(press(folder)) as learner:
        assert same(learner.models[MODEL].published, after)


def within(seq: int, ranges: list[tuple[int, int]]) -> bool:
    return any(first <= seq <= last for first, last in ranges)


def restored(crashed: Crashed, into: Path) -> Path:
    return Path(shutil.copytree(crashed.folder, into / "files"))


def test_the_files_as_they_were_give_the_state_as_it_was(crashed, tmp_path):
    assert examine(crashed, restored(crashed, tmp_path)) == "whole"


@pytest.mark.parametrize("high", ["known", "unknown"])
@pytest.mark.parametrize("name", [DB, WAL])
def test_a_truncated_log_is_refused_or_gives_the_state_of_a_prefix(crashed, tmp_path, name, high):
    """Its last pages, cut at seeded random bytes and at the ends of pages and frames.

    Where the note of the highest acknowledged event is gone as well, nothing proves that a -wal
    cut at a commit was longer.
    """
    rng = random.Random(f"{name} {high}")
    size = (crashed.folder / "log" / name).stat().st_size
    unit = PAGE if name == DB else PAGE + 24
    start = 0 if name == DB else 32
    ends = [start + unit * k for k in range((size - start) // unit)][-12:]
    cuts = {rng.randrange(max(0, size - 12 * unit), size) for _ in range(6)}
    cuts |= {size - 1, *rng.sample(ends, min(6, len(ends)))} - {0}
    found = []
    for cut in sorted(cuts):
        folder = restored(crashed, tmp_path / str(cut))
        with (folder / "log" / name).open("r+b") as file:
            file.truncate(cut)
        if high == "unknown":
            (folder / "log" / HIGH).unlink()
        found.append(examine(crashed, folder))
    if name == DB:
        # "whole": the -wal has all the pages that are missing.
        assert set(found) <= {"refused", "refused later", "refused for good", "whole"}
        assert "refused" in found
    elif high == "known":
        assert set(found) == {"refused"}
    else:
        assert set(found) <= {"refused", "prefix"}
        assert "prefix" in found


@pytest.mark.parametrize("name", [DB, WAL])
def test_a_log_with_a_flipped_bit_is_refused_or_gives_the_state_of_a_prefix(
    crashed, tmp_path, name
):
    """A flip in what no event needs, such as a free page or an index, may go unnoticed."""
    rng = random.Random(name)
    whole = (crashed.folder / "log" / name).read_bytes()
    found = []
    for case in range(14):
        folder = restored(crashed, tmp_path / str(case))
        at = rng.randrange(max(0, len(whole) - 12 * PAGE), len(whole))
        flipped = whole[at] ^ (1 << rng.randrange(8))
        (folder / "log" / name).write_bytes(whole[:at] + bytes([flipped]) + whole[at + 1 :])
        found.append(examine(crashed, folder))
    assert "prefix" not in found
    # What stands in the file alone is covered by the snapshot; what is behind that, in the -wal.
    assert name == DB or "refused" in found


@pytest.mark.parametrize(
    "name",
    [
        DB,
        WAL,
    ],
)
def test_an_emptied_log_is_refused(crashed, tmp_path, name):
    folder = restored(crashed, tmp_path)
    with (folder / "log" / name).open("r+b") as file:
        file.truncate(0)
    assert examine(crashed, folder) == "refused"


def test_a_missing_wal_is_refused(crashed, tmp_path):
    folder = restored(crashed, tmp_path)
    (folder / "log" / WAL).unlink()
    assert examine(crashed, folder) == "refused"


def test_a_log_that_is_gone_beside_a_store_that_is_not_is_refused(crashed, tmp_path):
    folder = restored(crashed, tmp_path)
    shutil.rmtree(folder / "log")
    assert examine(crashed, folder) == "refused"
