"""A damaged snapshot is set aside, and the log makes up for it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from model_store.errors import SnapshotDamaged
from service.history.verbs import Order, Promote
from service.learner.requests import TakeSnapshot
from service.state import same
from tests.durability.aftermath import MODEL, copy_log, copy_store, history, learning
from tests.kernel import born
from tests.line import posted, readings, submit
from tests.serving import press


def taught(folder, into, events: int):
    """A learner killed after some events, with snapshots 1 (birth) to 3; its states."""
    with learning(press(folder)) as learner:
        for seq in range(1, events + 1):
            submit(learner, posted(readings(seq, 2), np.array([seq % 2, 1]), f"b{seq}"))
            if seq in (events // 3, 2 * events // 3):
                submit(learner, TakeSnapshot(MODEL, "demand"))
        copy_store(folder, into)
        copy_log(folder, into)
        newborn = born(press(folder).models[0])
        return history(learner.events, {}, newborn)


@pytest.mark.parametrize(
    "name",
    [
        "state.safetensors",
        "prequential.safetensors",
        "manifest.json",
    ],
)
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_a_start_quarantines_it_and_replays_from_the_one_before(tmp_path, name, how):
    states = taught(tmp_path / "before", tmp_path / "after", 12)
    newest = tmp_path / "after/store/models" / MODEL / "snapshots/00000003"
    file = newest / name
    whole = file.read_bytes()
    file.chmod(0o644)
    if how == "gone":
        file.unlink()
    else:
        middle = len(whole) // 2
        rest = bytes([whole[middle] ^ 1]) + whole[middle + 1 :] if how == "flipped" else b""
        file.write_bytes(whole[:middle] + rest)
    with learning(press(tmp_path / "after")) as learner:
        assert same(learner.models[MODEL].published, states[12])
        assert 3 not in learner.store.versions(MODEL)
        champion = learner.store.alias(MODEL, "champion")
        assert champion is not None
        assert champion.version in learner.store.versions(MODEL)
        assert submit(learner, TakeSnapshot(MODEL, "demand"))["version"] > 3


def test_with_every_snapshot_damaged_the_log_alone_gives_the_state(tmp_path):
    states = taught(tmp_path / "before", tmp_path / "after", 9)
    for version in (1, 2, 3):
        place = tmp_path / "after/store/models" / MODEL / f"snapshots/{version:08d}"
        (place / "state.safetensors").unlink()
    with learning(press(tmp_path / "after")) as learner:
        assert same(learner.models[MODEL].published, states[9])


def test_one_that_is_damaged_while_the_learner_runs_fails_the_request_and_nothing_else(tmp_path):
    with learning(press(tmp_path)) as learner:
        file = tmp_path / "store/models" / MODEL / "snapshots/00000001/manifest.json"
        file.chmod(0o644)
        file.write_text(json.dumps({"seq": 0}))
        with pytest.raises(SnapshotDamaged, match=r"manifest\.json"):
            submit(learner, Order(MODEL, Promote(1, pinned=True), "kim", "hold"))
        submit(learner, posted(readings(1, 2), np.array([0, 1]), "b1"))
        assert learner.not_ready is None
        assert submit(learner, TakeSnapshot(MODEL, "demand"))["seq"] == 1
