"""A line in quarantine: its labels are kept, and teach nobody, until it is released."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from clients import ApicalClientError
from service.cli import main
from service.history.replay import replay
from service.publishing.taking import load_state
from service.state import arrays, same
from tests.kernel import KERNEL
from tests.line import teach, trail, wait_for
from tests.serving import IMMEDIATE, label, press, row, serving

WATCHED = 'promotion = "gate"\nguard_rows = 100\nsnapshot_every_rows = 200\nguard = "rollback"'


def state_of(running):
    return running.learner.models["press"].published


def weights(running):
    return {name: array.tobytes() for name, array in arrays(state_of(running)).items()}


def ask(running, verb, **body):
    return running.client.verb("press", verb, reason="gateway 2 is being mended", **body)


def rebase(running, **selection):
    ask(running, "rebase", **selection)
    wait_for(lambda: running.client.ask("press", "rebase")["state"] == "done")


def again(running):
    """The whole log once more, from the first snapshot."""
    store = running.learner.store

    def load(model, version):
        return load_state(store, model, version)

    born = load("press", 1)
    return replay(KERNEL, born, running.learner.events.events("press", after=born.seq), load)


def test_labels_of_a_line_in_quarantine_are_kept_and_teach_nobody(tmp_path):
    with serving(press(tmp_path, model=IMMEDIATE)) as running:
        teach(running, 0, 10, line="gateway 2")
        scored = running.client.model("press").raw["prequential"]["overall"]["rows"]
        done = ask(running, "quarantine", line="gateway 2")
        assert done["quarantined"] == ["gateway 2"]
        before, steps = weights(running), state_of(running).steps
        answer = running.client.learn("press", [row(1)], [label(1)], line="gateway 2")
        assert answer.learned == [False]
        assert answer.outcomes == ["quarantined"]
        running.client.predict("press", [row(2)], batch_id="b", line="gateway 2")
        late = running.client.label("press", "b", [label(2)])
        assert late.outcomes == ["quarantined"]
        assert (weights(running), state_of(running).steps) == (before, steps)
        # Nor do they count for the score that people see.
        assert running.client.model("press").raw["prequential"]["overall"]["rows"] == scored
        # Others teach: another line, and rows that name none.
        teach(running, 20, 2, line="gateway 1")
        teach(running, 22, 2)
        assert state_of(running).steps == steps + 4
        # It is the line that is set aside, whatever the weights become.
        running.client.rollback("press", 1, reason="back")
        assert state_of(running).quarantined == ("gateway 2",)
        live = state_of(running)
        assert same(again(running), live)
    with serving(press(tmp_path, model=IMMEDIATE)) as running:
        assert same(state_of(running), live)
        assert running.client.model("press").raw["quarantined"] == ["gateway 2"]
        assert ask(running, "release", line="gateway 2")["quarantined"] == []
        teach(running, 30, 1, line="gateway 2")
        assert state_of(running).steps == live.steps + 1
        assert same(again(running), state_of(running))
        deeds = [(e["verb"], e["details"].get("line")) for e in trail(running)]
        assert ("quarantine", "gateway 2") in deeds
        assert ("release", "gateway 2") in deeds


def test_rows_without_a_line_are_a_line_of_their_own(tmp_path):
    with serving(press(tmp_path, model=IMMEDIATE)) as running:
        ask(running, "quarantine", line="")
        assert running.client.learn("press", [row(1)], [label(1)]).learned == [False]
        assert running.client.learn("press", [row(1)], [label(1)], line="a").learned == [True]


@pytest.mark.parametrize(
    ("verb", "body", "said"),
    [
        ("release", {"line": "a"}, "expected a line in quarantine (none), found 'a'"),
        ("quarantine", {}, "line: expected a line's name, or an empty string"),
        ("quarantine", {"line": 7}, "line: expected a string of 1 to"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(tmp_path, verb, body, said):
    with serving(press(tmp_path, model=IMMEDIATE)) as running:
        with pytest.raises(ApicalClientError) as refused:
            ask(running, verb, **body)
        assert said in str(refused.value)
        ask(running, "quarantine", line="b", dry_run=True)
        assert (state_of(running).seq, state_of(running).quarantined) == (0, ())


class Lines:
    """Three lines whose sensors tell the classes apart; "bad" may send flipped labels."""

    def __init__(self, running) -> None:
        self.running = running
        self.rng = np.random.default_rng(3)

    def send(self, rounds: int, flip: float = 0.0) -> None:
        for _ in range(rounds):
            for line in ("one", "bad", "three"):
                worn = self.rng.random(5) < 0.5
                temp = np.where(worn, 90.0, 50.0) + self.rng.normal(0, 8, 5)
                flow = np.where(worn, 3.0, 6.0) + self.rng.normal(0, 0.8, 5)
                said = worn ^ ((self.rng.random(5) < flip) & (line == "bad"))
                self.running.client.learn(
                    "press",
                    [{"temp": float(t), "flow": float(f)} for t, f in zip(temp, flow, strict=True)],
                    ["worn" if w else "ok" for w in said],
                    line=line,
                )


def test_the_guard_sets_one_bad_line_aside_and_the_others_go_on_teaching(tmp_path):
    with serving(press(tmp_path, model=WATCHED)) as running:
        lines = Lines(running)
        lines.send(150)
        assert running.client.model("press").raw["champion"] > 1
        lines.send(60, flip=0.5)
        (deed,) = trail(running, "quarantine")
        assert deed["actor"] == "guard"
        assert deed["details"]["line"] == "bad"
        assert "line 'bad': the labels stopped teaching" in deed["reason"]
        assert "apical snapshots rebase --without" in deed["reason"]
        raw = running.client.model("press").raw
        assert (raw["frozen"], raw["quarantined"]) == (False, ["bad"])
        steps = state_of(running).steps
        lines.send(10, flip=0.5)
        assert state_of(running).steps == steps + 10 * 2 * 5
        assert same(again(running), state_of(running))
        assert not trail(running, "freeze")


def test_a_restart_amid_the_evidence_does_not_start_it_over(tmp_path):
    def named_after(folder, stops):
        """Rounds of poison until the bad line was set aside."""
        sent, model = 0, WATCHED.replace("guard_rows = 100", "guard_rows = 150")
        with serving(press(folder, model=model)) as running:
            lines = Lines(running)
            lines.send(200)
        while sent < 100:
            with serving(press(folder, model=model)) as running:
                lines.running = running
                while sent < 100:
                    lines.send(1, flip=0.3)
                    sent += 1
                    if state_of(running).quarantined:
                        assert state_of(running).quarantined == ("bad",)
                        return sent
                    if sent in stops:
                        break
        pytest.fail("the bad line was not named")

    whole = named_after(tmp_path / "whole", ())
    assert whole > 15
    stopped = named_after(tmp_path / "stopped", (5, 10, 15))
    assert abs(stopped - whole) <= 2


def test_what_was_set_aside_can_be_learned_later_as_if_it_never_had_been(tmp_path):
    def life(folder, quarantined):
        with serving(press(folder, model=IMMEDIATE)) as running:
            teach(running, 0, 10, line="a")
            if quarantined:
                ask(running, "quarantine", line="a")
            teach(running, 10, 10, line="a")
            teach(running, 20, 5, line="b")
            if quarantined:
                ask(running, "release", line="a")
                steps = state_of(running).steps
                begun = ask(running, "rebase", learn_lines=["a"])
                assert begun["excluded_lessons"] == 0
                wait_for(lambda: running.client.ask("press", "rebase")["state"] == "done")
                assert state_of(running).steps == steps + 10
                # Of the state that a rebase made, not of the lessons that it learned after all.
                live = state_of(running)
                teach(running, 25, 1, line="b")
                assert same(again(running), state_of(running))
                return live
            return state_of(running)

    late, never = life(tmp_path / "late", True), life(tmp_path / "never", False)
    assert {k: v.tobytes() for k, v in arrays(late).items()} == {
        k: v.tobytes() for k, v in arrays(never).items()
    }


def test_what_one_rebase_learned_after_all_a_later_one_does_not_forget(tmp_path):
    with serving(press(tmp_path, model=IMMEDIATE)) as running:
        teach(running, 0, 5, line="a")
        ask(running, "quarantine", line="a")
        teach(running, 5, 5, line="a")
        ask(running, "release", line="a")
        rebase(running, learn_lines=["a"])
        assert state_of(running).steps == 10
        teach(running, 10, 3, line="b")
        rebase(running, lines=["b"])
        assert state_of(running).steps == 10
        assert same(again(running), state_of(running))


@pytest.mark.parametrize("learn", [True, False])
def test_rows_that_name_no_line_can_be_left_out_or_learned_after_all(tmp_path, learn):
    with serving(press(tmp_path, model=IMMEDIATE)) as running:
        if learn:
            ask(running, "quarantine", line="")
        teach(running, 0, 4)
        teach(running, 4, 3, line="b")
        if learn:
            ask(running, "release", line="")
        assert state_of(running).steps == (3 if learn else 7)
        rebase(running, **({"learn_lines": [""]} if learn else {"lines": [""]}))
        assert state_of(running).steps == (7 if learn else 3)


def test_labels_that_were_set_aside_tell_nothing_of_the_concept(tmp_path):
    top = '[drift]\nreference_rows = 1000\naction = "tell"'
    with serving(press(tmp_path, model=IMMEDIATE, top=top)) as running:
        rng = np.random.default_rng(0)

        def send(rows, line, wrong=False):
            for _ in range(rows // 20):
                worn = rng.random(20) < 0.5
                temp = np.where(worn, 90, 30) + rng.normal(0, 14, 20)
                said = rng.random(20) < 0.5 if wrong else worn
                labels = ["worn" if w else "ok" for w in said]
                columns = {"temp": temp.tolist(), "flow": rng.normal(5, 1, 20).tolist()}
                running.client.learn("press", columns=columns, labels=labels, line=line)

        def raised():
            return {r["kind"] for r in running.client.ask("press", "drift")["raised"]}

        send(2_000, "a")
        # A reference without the rows on which the network was newborn.
        running.client.verb("press", "drift/renew", reason="it knows the line by now")
        send(1_500, "a")
        wait_for(lambda: running.client.ask("press", "drift")["watched"])
        ask(running, "quarantine", line="b")
        send(2_000, "b", wrong=True)
        assert "concept" not in raised()
        # What these labels would have told, had they been another line's.
        send(2_000, "c", wrong=True)
        wait_for(lambda: "concept" in raised())


def test_the_commands_set_a_line_aside_and_take_it_back_with_what_it_taught(tmp_path):
    def type_(*arguments):
        done = CliRunner().invoke(
            main, ["snapshots", *arguments, "--reason", "x", "--url", running.url]
        )
        assert done.exit_code == 0, done.output
        return done.output

    with serving(press(tmp_path, model=IMMEDIATE)) as running:
        assert "'gateway 2' teaches nothing" in type_("quarantine", "gateway 2")
        teach(running, 0, 5, line="gateway 2")
        assert state_of(running).steps == 0
        assert "'gateway 2' teaches again" in type_("release", "gateway 2", "--learn")
        wait_for(lambda: running.client.ask("press", "rebase")["state"] == "done")
        assert state_of(running).steps == 5


def test_a_rebase_that_learns_a_line_needs_something_set_aside(tmp_path):
    with serving(press(tmp_path, model=IMMEDIATE)) as running:
        teach(running, 0, 3, line="a")
        with pytest.raises(ApicalClientError, match="matches the selection"):
            ask(running, "rebase", learn_lines=["a"])
