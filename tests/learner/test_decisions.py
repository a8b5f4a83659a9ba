"""What gate and guard decide is kept until it is an event, whatever fails in between; and only then
does anything say that it is so."""

from __future__ import annotations

import pytest

from model_store.errors import LogError, SnapshotDamaged, StoreUnavailable
from model_store.snapshots.audit import AuditTrail
from service.evaluation.gate import Gate, Verdict
from service.evaluation.guard import Guard
from service.evaluation.signal import Signal
from service.history.verbs import Order, Promote
from service.learner.requests import TakeSnapshot
from service.learner.shadows import Shadow
from tests.durability.aftermath import MODEL, copy_log, copy_store, learning
from tests.line import hand_in, submit, wait_for
from tests.serving import press

WATCHED = 'promotion = "gate"\nguard = "rollback"'
PROMOTE = Verdict(2, True, 100, 1.0, 0.5, 0.2, 0.1, 1, 2)
REJECT = Verdict(2, False, 100, -3.0, 0.001, 0.1, 0.2, 1, 2)
GUARD = Signal("guard", (1, 2), 9.0, 1e-9, "labels went bad")


@pytest.fixture(autouse=True)
def newborns_count_as_trained(monkeypatch):
    """What is tested is what becomes of decisions, not who may take them."""
    monkeypatch.setattr(Shadow, "untrained", False)


def once(error, real, when=lambda *arguments: True):
    """``real``, which fails the first time that it is called."""
    failed = []

    def call(*arguments, **more):
        if not failed and when(*arguments):
            failed.append(arguments)
            raise error
        return real(*arguments, **more)

    call.failed = failed
    return call


def failing(what, learner, monkeypatch):
    """One failure to come in the store or the log; a list that tells whether it came."""
    store = learner.store
    if what == "read":
        store.read = found = once(StoreUnavailable("slow down"), store.read)
    elif what == "damage":
        store.read = found = once(SnapshotDamaged("model.onnx", "a", "b"), store.read)
    elif what == "commit":
        events = learner.events
        events.commit = found = once(
            LogError("no space left"),
            events.commit,
            lambda records, batches: any(r.kind not in ("batch", "late") for r in records),
        )
    elif what == "alias":
        store.set_alias = found = once(StoreUnavailable("slow down"), store.set_alias)
    elif what == "publish":
        store.publish = found = once(StoreUnavailable("slow down"), store.publish)
    else:
        assert what == "trail"
        found = once(StoreUnavailable("slow down"), AuditTrail.append)
        monkeypatch.setattr(AuditTrail, "append", found)
    return found.failed


class Stage:
    """A learner whose champion is 1 and whose candidate is 2."""

    def __init__(self, learner, monkeypatch):
        self.learner, self.monkeypatch = learner, monkeypatch
        hand_in(learner, 0, 3)
        assert submit(learner, TakeSnapshot(MODEL, "demand"))["version"] == 2
        self.steward = learner.duties.steward(MODEL)
        wait_for(lambda: self.steward.gate.candidate == 2)

    def decide(self, owner, decision):
        """Gate or guard decides, at the next lesson and once."""
        left = [decision]

        def observe(*arguments, **more):
            return left.pop() if left else None

        detector = self.steward.guard if owner is Guard else self.steward.gate
        self.monkeypatch.setattr(detector, "observe", observe)
        hand_in(self.learner, 3, 1)

    def champion(self):
        return self.learner.store.alias(MODEL, "champion").version

    def done(self, verb):
        return [e for e in self.learner.store.audit(MODEL).entries() if e.verb == verb]

    def counted(self, name, *labels):
        return getattr(self.learner.metrics, name).labels(MODEL, *labels)._value.get()


@pytest.fixture
def stage(tmp_path, monkeypatch):
    with learning(press(tmp_path, model=WATCHED)) as learner:
        yield Stage(learner, monkeypatch)


@pytest.mark.parametrize("what", ["nothing", "read", "commit", "alias", "trail"])
def test_a_promotion_comes_about_once_whatever_fails_for_a_moment(stage, what):
    failed = failing(what, stage.learner, stage.monkeypatch) if what != "nothing" else [True]
    stage.decide(Gate, PROMOTE)
    wait_for(lambda: stage.champion() == 2 and len(stage.done("promote")) == 2)
    assert failed
    assert stage.steward.champion.version == 2
    assert stage.counted("gate_verdicts", "promoted") == 1
    assert [(e.before, e.after) for e in stage.done("promote")][-1] == (1, 2)


def test_while_the_store_is_out_of_reach_nothing_says_that_it_is_promoted(stage):
    real = stage.learner.store.read

    def unreachable(*arguments, **more):
        raise StoreUnavailable("slow down")

    stage.learner.store.read = unreachable
    stage.decide(Gate, PROMOTE)
    hand_in(stage.learner, 4, 2)
    assert stage.champion() == 1
    assert stage.steward.champion.version == 1
    assert stage.counted("gate_verdicts", "promoted") == 0
    stage.learner.store.read = real
    wait_for(lambda: stage.champion() == 2)
    assert stage.steward.champion.version == 2


def test_a_candidate_that_is_damaged_is_rejected_and_the_trail_says_why(stage):
    failing("damage", stage.learner, stage.monkeypatch)
    stage.decide(Gate, PROMOTE)
    wait_for(lambda: stage.done("reject"))
    (entry,) = stage.done("reject")
    assert "impossible: model.onnx: expected a, found b" in entry.reason
    assert stage.champion() == 1
    assert stage.steward.champion.version == 1
    assert stage.counted("gate_verdicts", "promoted") == 0


@pytest.mark.parametrize("what", ["nothing", "commit", "trail"])
def test_a_rejection_is_on_record_once(stage, what):
    failed = failing(what, stage.learner, stage.monkeypatch) if what != "nothing" else [True]
    stage.decide(Gate, REJECT)
    wait_for(lambda: stage.done("reject"))
    assert failed
    assert stage.champion() == 1
    assert stage.counted("gate_verdicts", "rejected") == 1
    assert len(stage.done("reject")) == 1


@pytest.mark.parametrize("what", ["nothing", "read", "commit", "alias", "publish", "trail"])
def test_the_guards_rollback_follows_its_freeze_whatever_fails_for_a_moment(stage, what):
    before = stage.learner.models[MODEL].published
    failed = failing(what, stage.learner, stage.monkeypatch) if what != "nothing" else [True]
    stage.decide(Guard, GUARD)
    wait_for(lambda: stage.done("rollback") and stage.learner.models[MODEL].snapshot == 3)
    assert failed
    assert len(stage.done("freeze")) == len(stage.done("rollback")) == 1
    state = stage.learner.models[MODEL].published
    assert state.frozen
    assert (before.steps, state.steps) == (3, 0)
    assert stage.champion() == 3
    wait_for(lambda: stage.steward.champion.version == 3)


def test_a_champion_that_is_damaged_leaves_the_model_frozen_and_an_alarm(stage):
    failing("damage", stage.learner, stage.monkeypatch)
    stage.decide(Guard, GUARD)
    wait_for(lambda: stage.done("alarm"))
    assert "impossible" in stage.done("alarm")[0].reason
    assert stage.learner.models[MODEL].published.frozen
    assert stage.done("rollback") == []


def test_a_promotion_does_not_outlive_the_guards_alarm(stage):
    real = stage.learner.store.read

    def unreachable(*arguments, **more):
        raise StoreUnavailable("slow down")

    stage.learner.store.read = unreachable
    stage.decide(Gate, PROMOTE)
    stage.decide(Guard, GUARD)
    wait_for(lambda: stage.done("freeze"))
    stage.learner.store.read = real
    wait_for(lambda: stage.done("rollback"))
    assert len(stage.done("promote")) == 1
    assert stage.counted("gate_verdicts", "promoted") == 0


def test_a_promote_of_a_damaged_snapshot_is_refused_before_its_event(stage):
    store = stage.learner.store
    real = store.read

    def damaged(model, version, name, **more):
        if name == "model.onnx":
            raise SnapshotDamaged("model.onnx", "a", "b")
        return real(model, version, name, **more)

    store.read = damaged
    seq = stage.learner.models[MODEL].published.seq
    with pytest.raises(SnapshotDamaged, match=r"model\.onnx"):
        submit(stage.learner, Order(MODEL, Promote(2, pinned=True), "kim", "hold"))
    assert stage.learner.models[MODEL].published.seq == seq
    assert stage.champion() == 1


@pytest.mark.parametrize("snapshot", [True, False])
def test_the_guards_rollback_outlives_a_stop_that_came_behind_its_freeze(
    tmp_path, monkeypatch, snapshot
):
    folder = tmp_path / "before"
    with learning(press(folder, model=WATCHED)) as learner:
        stage = Stage(learner, monkeypatch)

        def unreachable(*arguments, **more):
            raise StoreUnavailable("slow down")

        learner.store.read = unreachable
        stage.decide(Guard, GUARD)
        wait_for(lambda: learner.models[MODEL].published.frozen)
        if not snapshot:
            copy_store(folder, tmp_path / "after")
            copy_log(folder, tmp_path / "after")
    monkeypatch.undo()
    monkeypatch.setattr(Shadow, "untrained", False)
    if snapshot:
        folder.rename(tmp_path / "after")
    for _ in range(2):
        with learning(press(tmp_path / "after", model=WATCHED)) as learner:
            trail = learner.store.audit(MODEL)
            wait_for(lambda trail=trail: [e for e in trail.entries() if e.verb == "rollback"])
            (entry,) = [e for e in trail.entries() if e.verb == "rollback"]
            assert (entry.actor, entry.details["automatic"]) == ("guard", True)
            state = learner.models[MODEL].published
            assert (state.frozen, state.steps) == (True, 0)
