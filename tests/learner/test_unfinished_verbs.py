"""Verbs whose event is durable, and which the store had no time for: the next start makes up for
them, in their order and once."""

from __future__ import annotations

import pytest

from model_store.errors import LogError, StoreUnavailable
from model_store.snapshots.audit import AuditTrail
from model_store.snapshots.store import SnapshotStore
from service.errors import Unavailable
from service.history.verbs import VERBS, Order, Promote, Rollback
from service.learner.requests import TakeSnapshot
from tests.durability.aftermath import MODEL, copy_log, copy_store, learning
from tests.line import hand_in, readings, submit, wait_for
from tests.serving import press

MANUAL = 'promotion = "manual"'


def verb(kind, version=None):
    verbs = {"promote": Promote(version, pinned=True), "rollback": Rollback(version)}
    return Order(MODEL, verbs.get(kind) or VERBS[kind](), "kim", "why")


def done_by_people(learner):
    return [
        (e.verb, e.actor, e.seq)
        for e in learner.store.audit(MODEL).entries()
        if e.actor != "apical"
    ]


@pytest.mark.parametrize("broken", ["set_alias", "publish"])
def test_what_the_store_refused_until_the_learner_closed_is_done_at_the_next_start(
    tmp_path, broken
):
    configuration = press(tmp_path, model=MANUAL)
    with learning(configuration) as learner:
        hand_in(learner, 0, 4)
        assert submit(learner, TakeSnapshot(MODEL, "demand"))["version"] == 2
        hand_in(learner, 0, 2)

        def unreachable(*arguments, **more):
            raise StoreUnavailable("the bucket says slow down")

        setattr(learner.store, broken, unreachable)
        verbs = [verb("rollback", 2), verb("promote", 1), verb("freeze")]
        asked = [learner.order(each) for each in verbs]
        wait_for(lambda: learner.models[MODEL].published.seq == 9)
        hand_in(learner, 0, 1)
        state = learner.models[MODEL].published
        assert (state.seq, state.frozen) == (10, True)
    for future in asked:
        with pytest.raises(StoreUnavailable):
            future.result(0)
    # Twice: what was made up for is not made up for again.
    for _ in range(2):
        with learning(configuration) as learner:
            state = learner.models[MODEL].published
            assert (state.seq, state.frozen) == (10, True)
            champion = learner.store.alias(MODEL, "champion")
            assert (champion.version, champion.pinned) == (1, True)
            assert done_by_people(learner) == [
                ("rollback", "kim", 7),
                ("promote", "kim", 8),
                ("freeze", "kim", 9),
            ]
            assert [s["cause"] for s in learner.snapshots(MODEL)].count("rollback") == 1


def test_a_verb_that_waits_for_the_store_is_done_when_it_is_back(tmp_path):
    with learning(press(tmp_path, model=MANUAL)) as learner:
        hand_in(learner, 0, 2)
        real, refused = learner.store.set_alias, []

        def unreachable_once(*arguments, **more):
            if not refused:
                refused.append(arguments)
                raise StoreUnavailable("the bucket says slow down")
            return real(*arguments, **more)

        learner.store.set_alias = unreachable_once
        assert submit(learner, verb("promote", 1))["pinned"] is True
        assert refused
        assert submit(learner, verb("freeze"))["frozen"] is True
        assert done_by_people(learner) == [("promote", "kim", 3), ("freeze", "kim", 4)]


def test_a_verb_that_a_start_could_not_carry_out_is_not_buried_by_the_next_snapshot(
    tmp_path, monkeypatch
):
    """The store refuses for a moment at the start after a crash."""
    places = [tmp_path / name for name in ("before", "after")]
    with learning(press(places[0], model=MANUAL)) as learner:
        hand_in(learner, 0, 2)

        def unreachable(*arguments, **more):
            raise StoreUnavailable("the bucket says slow down")

        learner.store.set_alias = unreachable
        asked = learner.order(verb("promote", 1))
        wait_for(lambda: learner.models[MODEL].published.seq == 3)
        copy_store(*places)
        copy_log(*places)
        learner.store.set_alias = type(learner.store).set_alias.__get__(learner.store)
        assert asked.result(30)["pinned"]
    with monkeypatch.context() as refusing:
        refusing.setattr(SnapshotStore, "set_alias", unreachable)
        with learning(press(places[1], model=MANUAL)) as learner:
            hand_in(learner, 2, 1)
            for work in (TakeSnapshot(MODEL, "demand"), verb("freeze")):
                with pytest.raises(StoreUnavailable, match="a verb before this"):
                    submit(learner, work)
            assert done_by_people(learner) == []
            assert learner.store.versions(MODEL) == [1]
    for _ in range(2):
        with learning(press(places[1], model=MANUAL)) as learner:
            assert done_by_people(learner) == [("promote", "kim", 3)]
            assert learner.store.alias(MODEL, "champion").pinned


def test_a_commit_that_failed_leaves_nothing_of_its_rows(tmp_path):
    with learning(press(tmp_path)) as learner:
        hand_in(learner, 0, 3)
        live = learner.models[MODEL]
        recent, last, published = live.recent, live.last, live.published

        def no_room(*arguments):
            raise LogError("no space left on device")

        real, learner.events.commit = learner.events.commit, no_room
        with pytest.raises(Unavailable, match="nothing was learned: no space left"):
            hand_in(learner, 100, 1)
        assert live.published is published
        assert live.recent is recent
        assert live.last is last
        learner.events.commit = real
        wait_for(lambda: learner.failing is None)
        hand_in(learner, 3, 1)
        assert live.last[0] is published
        assert live.recent.tobytes() == readings(3, 1).tobytes()


def test_a_step_size_that_was_set_while_a_start_could_not_record_it_is_set_by_the_next(
    tmp_path, monkeypatch
):
    with learning(press(tmp_path, model="step_size = 0.05")) as learner:
        hand_in(learner, 0, 1)

    def unreachable(*arguments, **more):
        raise StoreUnavailable("the bucket says slow down")

    with monkeypatch.context() as refusing:
        refusing.setattr(AuditTrail, "head", unreachable)
        with learning(press(tmp_path, model="step_size = 0.1")) as learner:
            assert learner.models[MODEL].published.step_size == 0.05
            hand_in(learner, 1, 1)
    with learning(press(tmp_path, model="step_size = 0.1")) as learner:
        assert learner.models[MODEL].published.step_size == 0.1
