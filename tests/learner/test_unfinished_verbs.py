"""Verbs whose event is durable, and which the store had no time for: the next start makes up for
them, in their order and once."""

from __future__ import annotations

import pytest

from model_store.errors import StoreUnavailable
from service.history.verbs import VERBS, Order, Promote, Rollback
from service.learner.requests import TakeSnapshot
from tests.durability.aftermath import MODEL, learning
from tests.line import hand_in, submit
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
