"""The reference that drift is measured against, and the step size that drift raises, across
rollbacks and crashes."""

from __future__ import annotations

import numpy as np

from model_store.errors import StoreUnavailable
from service.drift import Reference
from service.history.verbs import Order, Rollback, SetStepSize
from service.learner.requests import TakeSnapshot
from service.watcher import Seen, Watched
from tests.durability.aftermath import MODEL, copy_log, copy_store, learning
from tests.line import hand_in, submit, wait_for
from tests.serving import press

A_ROW = np.array([1])


def reference(seed):
    rows = np.random.default_rng(seed).normal(50, 5, (600, 2))
    return Reference.of(rows, ["temp", "flow"]).to_dict()


def snapshot(learner):
    return submit(learner, TakeSnapshot(MODEL, "demand"))["version"]


def rollback(version):
    return Order(MODEL, Rollback(version), "kim", "bad hour")


def scored(learner):
    return learner.models[MODEL].prequential.summary()["overall"]["rows"]


def two_references(learner):
    """Snapshot 2 with one reference, then lessons and snapshot 3 with another; both."""
    then, later = reference(0), reference(1)
    hand_in(learner, 0, 4)
    learner.watcher.restart(MODEL, then)
    assert snapshot(learner) == 2
    learner.watcher.restart(MODEL, later)
    hand_in(learner, 4, 2)
    assert snapshot(learner) == 3
    assert learner.store.manifest(MODEL, 3)["drift_reference"] == later
    return then, later


def test_a_rollbacks_snapshot_has_the_reference_of_then_and_so_has_the_learner(tmp_path):
    with learning(press(tmp_path / "before")) as learner:
        then, _ = two_references(learner)
        made = submit(learner, rollback(2))["published"]
        assert learner.store.manifest(MODEL, made)["drift_reference"] == then
        wait_for(lambda: learner.watcher.reference(MODEL) == then)
        copy_store(tmp_path / "before", tmp_path / "after")
        copy_log(tmp_path / "before", tmp_path / "after")
    with learning(press(tmp_path / "after")) as learner:
        assert learner.models[MODEL].snapshot == made
        assert learner.watcher.reference(MODEL) == then


def test_a_rollback_to_a_snapshot_without_reference_keeps_the_present_one(tmp_path):
    with learning(press(tmp_path)) as learner:
        _, later = two_references(learner)
        made = submit(learner, rollback(1))["published"]
        assert learner.store.manifest(MODEL, made)["drift_reference"] == later
        assert learner.watcher.reference(MODEL) == later


def test_a_store_out_of_reach_after_a_rollbacks_commit_delays_it_and_the_writer_lives(tmp_path):
    with learning(press(tmp_path)) as learner:
        then, _ = two_references(learner)
        commit, manifest, failed = learner.events.commit, learner.store.manifest, []

        def unreachable_once(model, version):
            if version == 2 and not failed:
                failed.append(version)
                raise StoreUnavailable("the bucket says slow down")
            return manifest(model, version)

        def committed(records, batches=()):
            commit(records, batches)
            learner.store.manifest = unreachable_once

        learner.events.commit = committed
        made = submit(learner, rollback(2))["published"]
        assert failed
        assert manifest(MODEL, made)["drift_reference"] == then
        hand_in(learner, 0, 1)
        assert learner.not_ready is None
        wait_for(lambda: learner.watcher.reference(MODEL) == then)


def test_a_rollback_that_a_crash_left_without_snapshot_is_made_up_for_once_and_whole(tmp_path):
    places = [tmp_path / name for name in ("before", "once", "twice")]
    with learning(press(places[0])) as learner:
        then, _ = two_references(learner)
        # The crash comes before the publisher gets to it.
        learner.duties._snapshotting.carry_out = lambda live, verb, answer: None
        learner.order(rollback(2))
        wait_for(lambda: learner.models[MODEL].published.seq == 7)
        hand_in(learner, 6, 3)
        copy_store(places[0], places[1])
        copy_log(places[0], places[1])
    for folder, following in zip(places[1:], [*places[2:], None], strict=True):
        with learning(press(folder)) as learner:
            assert scored(learner) == 4 + 2 + 3
            assert learner.models[MODEL].published.seq == 10
            manifest = learner.store.manifest(MODEL, learner.models[MODEL].snapshot)
            assert (manifest["cause"], manifest["seq"]) == ("rollback", 7)
            assert manifest["prequential"]["overall"]["rows"] == 4 + 2
            assert manifest["drift_reference"] == then
            assert learner.watcher.reference(MODEL) == then
            if following is not None:
                copy_store(folder, following)
                copy_log(folder, following)


def test_losses_that_come_late_are_part_of_the_reference():
    rng = np.random.default_rng(0)
    watched = Watched(["a", "b"], 200_000)
    nothing = np.zeros((0, 2), np.float32)
    for _ in range(20):
        rows, probabilities = rng.normal(size=(64, 2)), rng.random((64, 2))
        watched.collect(
            Seen("m", rows.astype(np.float32), probabilities.astype(np.float32), None), 1024
        )
        losses = (rng.random(64) < 0.1).astype(float)
        if watched.monitor is not None:
            break
        watched.collect(Seen("m", nothing, nothing, losses), 1024)
    assert watched.reference["rows"] == 1024
    assert watched.reference["loss"] is not None


RAISING = '[drift]\nreference_rows = 0\naction = "raise_step_size"\nraised_rows = 3\n'


def raising(folder):
    return press(folder, top=RAISING, model="step_size = 0.05")


def step_size(learner):
    return learner.models[MODEL].published.step_size


def raise_step_size(learner):
    """As a drift alarm does."""
    submit(learner, Order(MODEL, SetStepSize(0.1, 3), "drift", "drift", True, (1, 1)))
    assert step_size(learner) == 0.1


def lowers(learner):
    """Lessons that follow bring the step size down, some time."""
    hand_in(learner, 0, 1)
    return step_size(learner) == 0.05


def test_a_raised_step_size_comes_down_once_its_rows_are_over(tmp_path):
    with learning(raising(tmp_path)) as learner:
        raise_step_size(learner)
        hand_in(learner, 0, 2)
        assert step_size(learner) == 0.1
        hand_in(learner, 0, 1)
        wait_for(lambda: step_size(learner) == 0.05)


def test_a_step_size_raised_in_the_state_rolled_back_to_comes_down(tmp_path):
    with learning(raising(tmp_path)) as learner:
        raise_step_size(learner)
        hand_in(learner, 0, 1)
        version = snapshot(learner)
        wait_for(lambda: lowers(learner))
        submit(learner, rollback(version))
        assert step_size(learner) == 0.1
        wait_for(lambda: lowers(learner))


def orders(learner):
    return [
        (e.actor, e.reason) for e in learner.store.audit(MODEL).entries() if e.verb == "step_size"
    ]


def test_a_step_size_raised_when_the_learner_died_is_raised_for_the_rows_left_after(tmp_path):
    with learning(raising(tmp_path / "before")) as learner:
        raise_step_size(learner)
        hand_in(learner, 0, 1)
        copy_store(tmp_path / "before", tmp_path / "after")
        copy_log(tmp_path / "before", tmp_path / "after")
    for folder in ("after", "before"):
        # After a crash from the log, after a stop from the last snapshot.
        with learning(raising(tmp_path / folder)) as learner:
            assert step_size(learner) == 0.1
            assert orders(learner) == [("drift", "drift")]
            hand_in(learner, 0, 1)
            assert step_size(learner) == 0.1
            hand_in(learner, 0, 1)
            wait_for(lambda learner=learner: step_size(learner) == 0.05)


def test_a_raised_step_size_comes_down_at_a_start_where_drift_does_not_raise_it_any_more(tmp_path):
    with learning(raising(tmp_path)) as learner:
        raise_step_size(learner)
    with learning(press(tmp_path)) as learner:
        assert step_size(learner) == learner.models[MODEL].spec.step_size
        assert orders(learner)[-1][0] == "configuration"
        assert "toml changed" not in orders(learner)[-1][1]
