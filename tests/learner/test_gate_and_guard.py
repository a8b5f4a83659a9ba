"""Gate and guard end to end: what they decide is an event, audited, replayed, and undone by ops."""

from __future__ import annotations

import numpy as np
import pytest

from service.history.replay import replay
from service.publishing.taking import load_state
from service.state import same
from tests.kernel import KERNEL
from tests.line import trail, wait_for
from tests.serving import press, serving

ROWS = 5


class Line:
    """Two clusters that a small network tells apart in about 97 of 100 rows."""

    def __init__(self, running, seed: int = 0) -> None:
        self.running = running
        self.rng = np.random.default_rng(seed)

    def send(self, rows: int, flip: float = 0.0):
        """Labelled rows, five a request, each label flipped with probability ``flip``."""
        answer = None
        for _ in range(rows // ROWS):
            worn = self.rng.random(ROWS) < 0.5
            temp = np.where(worn, 90.0, 50.0) + self.rng.normal(0, 10, ROWS)
            flow = np.where(worn, 3.0, 6.0) + self.rng.normal(0, 1, ROWS)
            said = worn ^ (self.rng.random(ROWS) < flip)
            answer = self.running.client.learn(
                "press",
                [{"temp": float(t), "flow": float(f)} for t, f in zip(temp, flow, strict=True)],
                ["worn" if w else "ok" for w in said],
            )
        return answer


def raw(running):
    return running.client.model("press").raw


GATE = 'promotion = "gate"\nprobation_rows = 100\nguard = "off"\nsnapshot_every_updates = 20'


def test_a_candidate_becomes_champion_after_probation_on_later_rows(tmp_path):
    with serving(press(tmp_path, model=GATE)) as running:
        line = Line(running)
        line.send(100)
        assert raw(running)["champion"] == 1
        line.send(600)
        wait_for(lambda: raw(running)["champion"] > 1)
        deed = trail(running, "promote")[-1]
        champion = deed["after"]
        assert deed["actor"] == "gate"
        verdict = deed["details"]["verdict"]
        assert verdict["rows"] >= 100
        assert verdict["first_seq"] > running.client.manifest("press", champion)["seq"]
        assert 0 <= verdict["p_value"] <= 1
        assert verdict["candidate_score"] < 0.2
        text = running.learner.metrics.exposition()[0].decode()
        assert 'apical_gate_verdicts_total{model="press",verdict="promoted"}' in text
        state = running.learner.models["press"].published
    with serving(press(tmp_path, model=GATE)) as running:
        assert same(running.learner.models["press"].published, state)
        assert raw(running)["champion"] >= champion


def test_a_candidate_that_is_worse_is_rejected_and_audited(tmp_path):
    with serving(press(tmp_path, model=GATE)) as running:
        line = Line(running)
        line.send(800)
        before = raw(running)["champion"]
        # A short burst of wrong labels, then the truth again: the snapshot taken in the burst is
        # on probation while the labels are right.
        line.send(100, flip=1.0)
        running.client.snapshot("press")
        line.send(300)
        rejected = trail(running, "reject")
        assert rejected
        assert rejected[-1]["after"] is None
        assert rejected[-1]["details"]["verdict"]["p_value"] < 0.05
        assert before > 1


def test_a_person_who_holds_a_champion_holds_it_against_the_gate(tmp_path):
    with serving(press(tmp_path, model=GATE)) as running:
        line = Line(running)
        running.client.verb("press", "promote", version=1, reason="hold")
        line.send(600)
        assert raw(running)["champion"] == 1
        running.client.verb("press", "promote", auto=True, reason="go on")
        line.send(600)
        assert raw(running)["champion"] > 1


GUARD = 'promotion = "gate"\nguard_rows = 300\nsnapshot_every_updates = 100\nguard = "{}"'


def test_random_labels_freeze_the_learner_and_bring_the_champion_back(tmp_path):
    with serving(press(tmp_path, model=GUARD.format("rollback"))) as running:
        line = Line(running)
        line.send(2500)
        champion = raw(running)["champion"]
        assert champion > 1
        onset = raw(running)["seq"]
        answer = line.send(700, flip=0.5)
        assert answer.outcomes == ["frozen"] * ROWS
        after = raw(running)
        assert after["frozen"] is True
        freeze, rollback = trail(running, "freeze")[-1], trail(running, "rollback")[-1]
        assert freeze["actor"] == rollback["actor"] == "guard"
        assert freeze["details"]["automatic"] is True
        first, last = freeze["details"]["cause"]
        assert onset - 60 < first <= last <= onset + 140
        live = running.learner.models["press"]
        restored = rollback["details"]["names"]
        kept = load_state(running.learner.store, "press", restored)
        assert same(live.published, kept._replace(seq=live.published.seq, frozen=True))
        # No champion since the onset has learned any of the poison.
        assert running.client.manifest("press", restored)["seq"] <= onset
        assert not [e for e in trail(running, "promote") if e["seq"] > onset]
        state = live.published
    with serving(press(tmp_path, model=GUARD.format("rollback"))) as running:
        assert same(running.learner.models["press"].published, state)
        # Ops: unlearn the poison, keep what came before and after, learn on.
        running.client.verb("press", "thaw", reason="labels are right again")
        assert Line(running, seed=9).send(5).learned == [True] * ROWS


def test_an_alarm_only_guard_says_so_and_lets_it_learn(tmp_path):
    with serving(press(tmp_path, model=GUARD.format("alarm"))) as running:
        line = Line(running)
        line.send(2500)
        assert line.send(700, flip=0.5).learned == [True] * ROWS
        alarm = trail(running, "alarm")[-1]
        assert alarm["details"]["signal"] == "guard"
        assert raw(running)["frozen"] is False


def test_a_consistent_relabelling_is_an_alarm_never_a_freeze(tmp_path):
    with serving(press(tmp_path, model=GUARD.format("rollback"))) as running:
        line = Line(running)
        line.send(2500)
        line.send(1500, flip=1.0)
        # Once more, perhaps, against a champion that was crowned while the concept changed.
        assert {e["details"]["signal"] for e in trail(running, "alarm")} == {"concept_changed"}
        assert trail(running, "freeze") == []
        assert raw(running)["frozen"] is False


def test_rebase_drops_the_guards_freeze_and_learns_what_came_after(tmp_path):
    with serving(press(tmp_path, model=GUARD.format("rollback"))) as running:
        line = Line(running)
        line.send(2500)
        onset = raw(running)["seq"]
        line.send(600, flip=0.5)
        poison_end = raw(running)["seq"]
        assert raw(running)["frozen"] is True
        line.send(300)
        plan = running.client.verb(
            "press", "rebase", without=[[onset + 1, poison_end]], dry_run=True
        )
        assert plan["dropped_automatic_events"] >= 2
        running.client.verb("press", "rebase", without=[[onset + 1, poison_end]], reason="poison")
        while running.client.ask("press", "rebase")["state"] == "running":
            pass
        live = running.learner.models["press"].published
        clean = [
            record
            for record in running.learner.events.events("press", until=live.seq)
            if record.kind == "batch" and not onset < record.seq <= poison_end
        ]
        expected = load_state(running.learner.store, "press", 1)
        for record in clean:
            expected = expected._replace(seq=record.seq - 1)
            expected = replay(KERNEL, expected, [record], lambda model, version: None)
        assert same(live, expected._replace(seq=live.seq, frozen=live.frozen))
        # A step a row.
        assert live.steps == len(clean) * ROWS


@pytest.mark.parametrize("text", ["probation_rows = 300", "probation_rows = 200"])
def test_a_probation_shorter_than_the_guards_bound_is_refused(tmp_path, text):
    from service.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="expected more than guard_rows"):
        press(tmp_path, model=f'promotion = "gate"\nguard = "freeze"\n{text}')
