"""Gate and guard across what interrupts them: retention, an alarm, a commit that fails, a crash."""

from __future__ import annotations

from itertools import pairwise

import pytest

from clients import TryAgain
from model_store.errors import LogUnavailable
from service.evaluation.guard import Signal
from service.learner import cadence
from service.learner.steward import Steward
from tests.durability.aftermath import copy_log, copy_store, learning
from tests.learner.test_gate_and_guard import ROWS, Line, raw, trail
from tests.line import wait_for
from tests.serving import press, serving

GATE = 'promotion = "gate"\nprobation_rows = 100\nguard = "off"\nsnapshot_every_updates = {}'


def steward_of(running):
    return running.learner.duties.steward("press")


def test_candidate_and_champion_outlive_retention_while_the_probation_lasts(tmp_path, monkeypatch):
    # As many snapshots as can be taken.
    monkeypatch.setattr(cadence, "SHARE", 1.0)
    model = GATE.format(2) + "\nkeep_snapshots = 3\nkeep_aliased_days = 1e-9"
    with serving(press(tmp_path, model=model)) as running:
        line, store = Line(running), running.learner.store
        promoted = []
        for _ in range(80):
            line.send(ROWS)
            promoted = [e["after"] for e in trail(running, "promote") if e["actor"] == "gate"]
            kept, candidate = store.versions("press"), steward_of(running).gate.candidate
            assert store.alias("press", "champion").version in kept
            assert candidate is None or candidate in kept
            if any(after - before > 3 for before, after in pairwise(promoted)):
                break
        else:
            pytest.fail(f"no probation saw more snapshots come and go than are kept: {promoted}")
        assert store.versions("press")[0] > 1
        champion = raw(running)["champion"]
    with serving(press(tmp_path, model=model)) as running:
        assert raw(running)["champion"] == champion
        assert not [e for e in trail(running, "promote") if "missing" in e["reason"]]


def test_an_alarm_only_guard_watches_on_and_lets_the_gate_promote(tmp_path):
    model = (
        'promotion = "gate"\nprobation_rows = 200\nguard = "alarm"\nguard_rows = 60\n'
        "snapshot_every_updates = 20"
    )
    with serving(press(tmp_path, model=model)) as running:
        line = Line(running)
        line.send(1200)

        def alarms():
            return [e for e in trail(running, "alarm") if e["details"]["signal"] == "guard"]

        def poisoned_until(count):
            for _ in range(40):
                line.send(50, flip=0.5)
                if len(alarms()) >= count:
                    return
            pytest.fail("no alarm")

        poisoned_until(1)
        assert raw(running)["frozen"] is False
        assert steward_of(running).guard.fired is False
        seq = raw(running)["seq"]
        for _ in range(40):
            line.send(50)
            if [e for e in trail(running, "promote") if e["seq"] > seq]:
                break
        assert [e["actor"] for e in trail(running, "promote") if e["seq"] > seq] == ["gate"]
        # The next one is news once somebody has seen the first.
        seen = [a["id"] for a in running.client.ask("press", "alarms")["alarms"]]
        running.client.verb("press", "acknowledge", alarms=seen, reason="looked at")
        poisoned_until(2)


FREEZE = 'promotion = "manual"\nguard = "freeze"\nguard_rows = 60\nprobation_rows = 200'


def fired(steward, seq):
    """As after a guard signal at event ``seq``."""
    steward.guard.fired = True
    return steward._alarmed(Signal("guard", (seq, seq), 9.0, 1e-9, "the labels stopped teaching"))


@pytest.fixture
def fires(monkeypatch):
    """What the guard says at the next labelled event: set to make it fire, once."""
    soon, observe = [], Steward.observe

    def observed(self, seq, lesson, asked):
        verbs = observe(self, seq, lesson, asked)
        return fired(self, seq) if soon and soon.pop() else verbs

    monkeypatch.setattr(Steward, "observe", observed)
    return soon


def test_a_guard_that_fired_before_a_thaw_watches_again_after_a_crash(tmp_path, fires):
    before, after = tmp_path / "before", tmp_path / "after"
    with serving(press(before, model=FREEZE)) as running:
        line = Line(running)
        line.send(100)
        fires.append(True)
        line.send(ROWS)
        wait_for(lambda: raw(running)["frozen"])
        running.client.snapshot("press")
        manifest = running.client.manifest("press", raw(running)["snapshot"])
        assert manifest["steward"]["guard"]["fired"] is True
        running.client.verb("press", "thaw", reason="labels are right again")
        line.send(ROWS)
        assert steward_of(running).guard.fired is False
        copy_store(before, after)
        copy_log(before, after)
    with learning(press(after, model=FREEZE)) as learner:
        assert learner.models["press"].published.frozen is False
        assert learner.duties.steward("press").guard.fired is False


def test_a_guard_that_fired_and_froze_the_model_is_silent_after_a_restart(tmp_path, fires):
    with serving(press(tmp_path, model=FREEZE)) as running:
        line = Line(running)
        line.send(100)
        fires.append(True)
        line.send(ROWS)
        wait_for(lambda: raw(running)["frozen"])
    with learning(press(tmp_path, model=FREEZE)) as learner:
        assert learner.models["press"].published.frozen is True
        assert learner.duties.steward("press").guard.fired is True


@pytest.mark.parametrize("kind", ["promote", "freeze"])
def test_a_decision_whose_commit_failed_is_carried_out_once_it_can_be(tmp_path, fires, kind):
    model = FREEZE if kind == "freeze" else GATE.format(20)
    with serving(press(tmp_path, model=model)) as running:
        events, refused = running.learner.events, []
        commit = events.commit

        def full_once(records, batches=()):
            if records and records[0].kind == kind and not refused:
                refused.append(records[0])
                raise LogUnavailable("the disk is full")
            commit(records, batches)

        events.commit = full_once
        line = Line(running)
        line.send(100)
        if kind == "freeze":
            fires.append(True)
        for _ in range(100):
            try:
                line.send(ROWS)
            except TryAgain:
                wait_for(running.client.ready)
            if refused:
                break
        assert refused
        wait_for(lambda: trail(running, kind) and trail(running, kind)[-1]["actor"] != "apical")
        deed = trail(running, kind)[-1]
        assert deed["details"]["cause"]
        if kind == "freeze":
            assert raw(running)["frozen"] is True
            assert len(trail(running, "freeze")) == 1
        else:
            assert raw(running)["champion"] == deed["after"] > 1
            assert steward_of(running).champion.version == deed["after"]
        assert line.send(ROWS).learned == [kind == "promote"] * ROWS
