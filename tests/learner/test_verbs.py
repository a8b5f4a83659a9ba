"""Operators' verbs: what they change, what they say before, and the trail that they leave."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import httpx
import numpy as np
import pytest
from click.testing import CliRunner

from clients import Rejected
from model_store.errors import StoreUnavailable
from service.cli import main
from service.history.replay import replay
from service.history.verbs import Order
from service.publishing.taking import load_state
from service.state import same
from tests.kernel import KERNEL
from tests.line import teach
from tests.serving import label, press, row, serving


@pytest.fixture
def running(tmp_path):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 20)
        yield running


def live(running):
    return running.learner.models["press"].published


def apical(running, *arguments, status=0):
    done = CliRunner().invoke(
        main, ["snapshots", *arguments, "--url", running.url], env={"COLUMNS": "140"}
    )
    assert done.exit_code == status, done.output
    # The server logs to the same standard error.
    return done.stdout if status == 0 else done.output


def trail(running):
    return [
        (e["actor"], e["verb"], e["before"], e["after"], e["seq"])
        for e in running.client.ask("press", "audit")["entries"]
    ]


def test_frozen_labels_are_scored_and_logged_but_not_learned_until_thawed(running):
    assert "frozen from event 21" in apical(running, "freeze", "--reason", "odd", "--actor", "kim")
    before = live(running)
    answer = running.client.learn("press", [row(1)], [label(1)])
    assert (answer.learned, answer.outcomes) == ([False], ["frozen"])
    assert live(running).synapses is before.synapses
    assert running.client.model("press").prequential["overall"]["rows"] == 21
    with pytest.raises(Rejected, match=r"409.*found that it is frozen already"):
        running.client.verb("press", "freeze", reason="again")
    assert "learns again from event 23" in apical(running, "thaw", "--reason", "fixed")
    assert running.client.learn("press", [row(1)], [label(1)]).learned == [True]
    assert trail(running)[-2:][0] == ("kim", "freeze", 1, None, 21)


def test_frozen_survives_a_restart_and_a_rollback(tmp_path):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 3)
        running.client.snapshot("press")
        running.client.verb("press", "freeze", reason="x")
        assert running.client.rollback("press", 1, reason="back")["frozen"] is True
    with serving(press(tmp_path)) as running:
        assert running.client.model("press").raw["frozen"] is True
        assert running.client.learn("press", [row(1)], ["ok"]).learned == [False]


def test_promote_holds_a_version_for_replicas_until_auto(running):
    running.client.snapshot("press")
    said = running.client.verb("press", "promote", version=1, reason="hold", dry_run=True)
    assert (said["champion"], said["champion_after"]) == (2, 1)
    assert "still get its live weights" in said["note"]
    assert running.client.model("press").raw["champion"] == 2
    assert "snapshot 1 is champion, and held there" in apical(
        running, "promote", "1", "--reason", "hold"
    )
    teach(running, 20, 5)
    running.client.snapshot("press")
    raw = running.client.model("press").raw
    assert (raw["champion"], raw["pinned"], raw["snapshot"]) == (1, True, 3)
    assert "snapshot 3 is champion, and promotion goes on" in apical(
        running, "promote", "--auto", "--reason", "enough"
    )
    teach(running, 25, 1)
    version = running.client.snapshot("press").version
    assert running.client.model("press").raw["champion"] == version


def test_a_promote_waits_for_a_store_that_cannot_be_read_for_a_moment(running):
    running.client.snapshot("press")
    store = running.learner.store
    read, calls = store.read, []

    def once_out_of_reach(*args, **kwargs):
        # First its four files are looked at, before the event; then the publisher reads the state.
        calls.append(args)
        if len(calls) == 5:
            raise StoreUnavailable("out of reach")
        return read(*args, **kwargs)

    store.read = once_out_of_reach
    done = running.client.verb("press", "promote", version=1, reason="hold")
    store.read = read
    assert len(calls) >= 6
    assert (done["champion"], done["pinned"]) == (1, True)
    assert [v for _, v, *_ in trail(running)].count("promote") == 3
    running.client.verb("press", "freeze", reason="and the next verb works")


def test_dry_run_of_a_rollback_says_what_is_undone_and_changes_nothing(running):
    before = live(running)
    output = apical(running, "rollback", "1", "--reason", "x", "--dry-run")
    assert "nothing was changed" in output
    assert "lessons between: 20" in output
    assert live(running) is before
    assert [s.version for s in running.client.snapshots("press")] == [1]


def test_the_trail_says_who_did_what_and_what_was_live_then(running):
    start = time.time()
    running.client.snapshot("press")
    time.sleep(0.02)
    between = time.time()
    running.client.rollback("press", 1, reason="test", actor="kim")
    assert trail(running) == [
        ("apical", "promote", None, 1, 0),
        ("apical", "promote", 1, 2, 20),
        ("kim", "rollback", 2, 3, 21),
    ]

    def at(moment):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f"{moment % 1:.6f}"[1:]
        return running.client.ask("press", "live", at=f"{stamp}+00:00")["champion"]

    assert (at(start), at(between), at(time.time())) == (1, 2, 3)
    assert "the chain of 3 entries holds" in apical(running, "audit", "--verify")
    assert running.client.manifest("press", 3)["audit_head"] != "0" * 64
    anonymous = httpx.post(f"{running.url}/v1/models/press/freeze", json={"reason": "x"})
    assert anonymous.json()["actor"] == "anonymous@127.0.0.1"


def test_a_trail_that_was_tampered_with_is_named(running, tmp_path):
    running.client.snapshot("press")
    entry = next(tmp_path.rglob("audit/00000001.json"))
    entry.write_bytes(entry.read_bytes().replace(b"apical", b"nobody"))
    assert "00000001.json" in apical(running, "audit", "--verify", status=1)
    assert "00000001.json" in apical(running, "verify", status=1)


def test_verify_names_the_damaged_file(running, tmp_path):
    assert "0 problems" in apical(running, "verify")
    graph = next(tmp_path.rglob("00000001/model.onnx"))
    data = bytearray(graph.read_bytes())
    data[100] ^= 4
    graph.write_bytes(data)
    assert "00000001/model.onnx" in apical(running, "verify", status=1)
    done = CliRunner().invoke(
        main, ["snapshots", "verify", "--store", str(tmp_path / "store"), "--json"]
    )
    assert done.exit_code == 1
    assert "model.onnx" in json.loads(done.stdout)[0]["problems"][0]["path"]


def test_diff_compares_score_weights_features_and_lessons(running):
    running.client.snapshot("press")
    found = running.client.ask("press", "snapshots/1/diff/2")
    assert (found["seq"], found["lessons_between"], found["labelled_rows_between"]) == (
        [0, 20],
        20,
        20,
    )
    assert found["layers"]["gain.weight.1"]["change"] > 0
    assert found["layers"]["linear.bias.1"]["change"] > 0
    assert found["layers"]["mixture"]["change"] > 0
    assert found["features"]["temp"]["readings"] == [0, 20]
    shown = " ".join(apical(running, "diff", "1", "2").split())
    assert "press: 20 lessons, 20 labelled rows between" in shown


def test_retention_keeps_the_last_what_is_marked_and_what_was_champion_lately(tmp_path):
    model = "keep_snapshots = 3\nkeep_aliased_days = 0.0\n"
    with serving(press(tmp_path, model=model)) as running:
        for start in range(3):
            teach(running, start, 1)
            running.client.snapshot("press")
            if start == 0:
                apical(running, "keep", "2", "--reason", "the good day")
        for start in range(3, 8):
            teach(running, start, 1)
            running.client.snapshot("press")
        kept = {s.version for s in running.client.snapshots("press")}
        assert {2, 7, 8, 9} <= kept
        assert not kept & {3, 4, 5}
        assert "prune" not in [v for _, v, *_ in trail(running)]
        assert [v for _, v, *_ in trail(running)].count("delete") >= 3
        apical(running, "keep", "2", "--no", "--reason", "no longer")
        assert 2 in json.loads(apical(running, "prune", "--dry-run", "--json"))["versions"]
        apical(running, "prune")
        assert 2 not in {s.version for s in running.client.snapshots("press")}


def test_events_are_pruned_only_below_the_oldest_snapshot_and_the_horizon(tmp_path):
    model = "keep_snapshots = 2\nkeep_aliased_days = 0.0\n"
    top = f"[limits]\nidempotency_days = {0.2 / 86400}\n"
    with serving(press(tmp_path, model=model, top=top)) as running:
        for start in range(0, 40, 10):
            teach(running, start, 10)
            running.client.snapshot("press")
        events = running.learner.events
        time.sleep(0.3)
        apical(running, "prune", "--events")
        oldest = min(s.seq for s in running.client.snapshots("press"))
        assert events.pruned("press") == oldest > 0
        before = live(running)
        teach(running, 40, 3)
        assert running.client.ask("press", "verify")["problems"] == []
        assert "no learned batch" in rebased(running, "--without", "1..3", status=1)
    with serving(press(tmp_path, model=model, top=top)) as running:
        assert live(running).seq == before.seq + 3


def rebased(running, *arguments, status=0):
    return apical(running, "rebase", *arguments, "--reason", "bad hour", status=status)


def excluded_replay(running, start_version, skipped):
    """The reference: the same events, one by one, without those skipped."""
    learner = running.learner

    def load(model, version):
        return load_state(learner.store, model, version)

    state = load("press", start_version)
    for record in learner.events.events("press", after=state.seq):
        if record.seq in skipped or record.kind == "rebase":
            state = state._replace(seq=record.seq)
        else:
            state = replay(KERNEL, state, [record], load)
    return state


def test_rebase_unlearns_a_range_and_equals_a_learner_that_never_saw_it(running):
    running.client.snapshot("press")
    for index in range(20, 30):
        running.client.learn("press", [row(index)], ["worn" if label(index) == "ok" else "ok"])
    teach(running, 30, 100)
    said = apical(running, "rebase", "--without", "21..30", "--dry-run")
    assert "excluded lessons: 10" in said
    assert live(running).seq == 130
    output = rebased(running, "--without", "21..30")
    assert "10 lessons (10 rows) unlearned" in output
    expected = excluded_replay(running, 1, set(range(21, 31)))
    assert same(live(running), expected)
    assert live(running).steps == 120
    # Nothing of it stands out from any other champion.
    version = running.client.model("press").raw["champion"]
    assert same(load_state(running.learner.store, "press", version), live(running))
    teach(running, 130, 3)
    assert live(running).seq == expected.seq + 3


def test_rebase_survives_a_restart_like_any_event(tmp_path):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 30)
        rebased(running, "--without", "5..9")
        teach(running, 30, 5)
        before = live(running)
    with serving(press(tmp_path)) as running:
        assert same(live(running), before)


def test_rebase_by_line_batch_id_and_time(running):
    teach(running, 20, 5, line="press-3")
    running.client.learn("press", [row(30)], ["ok"], batch_id="bad")
    running.client.learn("press", [row(31)], ["ok"], observed_at="2020-01-01T00:00:00Z")
    running.client.label("press", "bad", ["worn"], relabel=True)
    for arguments, lessons in (
        (("--line", "press-3"), 5),
        (("--batch-id", "bad"), 2),
        (("--until", "2020-02-01T00:00:00Z", "--observed"), 1),
        (("--since", "2020-02-01T00:00:00Z"), 28),
        (("--without", "26..26"), 2),  # and the late label of that batch
    ):
        plan = json.loads(apical(running, "rebase", *arguments, "--dry-run", "--json"))
        assert plan["excluded_lessons"] == lessons, arguments


def test_a_second_rebase_keeps_the_first_in_force(running):
    rebased(running, "--without", "3..5")
    teach(running, 20, 10)
    rebased(running, "--without", "10..12")
    assert same(live(running), excluded_replay(running, 1, {3, 4, 5, 10, 11, 12}))
    assert live(running).steps == 30 - 6


def test_a_kept_rollback_into_the_rebased_range_means_the_rebased_state(running):
    version = running.client.snapshot("press").version
    teach(running, 20, 10)
    running.client.rollback("press", version, reason="operator's own")
    teach(running, 30, 5)
    rebased(running, "--without", "4..6")
    learner = running.learner

    def load(model, number):
        return load_state(learner.store, model, number)

    state = load("press", 1)
    marks = {}
    for record in learner.events.events("press", until=36):
        if record.seq in (4, 5, 6):
            state = state._replace(seq=record.seq)
        elif record.kind == "rollback":
            from service.state import Replace

            state, _ = KERNEL.apply(state, Replace(marks[20]))
        else:
            state = replay(KERNEL, state, [record], load)
        marks[record.seq] = state
    assert same(live(running)._replace(seq=36), state._replace(seq=36))


def test_labels_that_arrived_frozen_are_learned_only_when_asked_for(running):
    running.client.verb("press", "freeze", reason="x")
    teach(running, 20, 4)
    running.client.verb("press", "thaw", reason="x")
    running.client.learn("press", [row(24), row(25), row(26)], [label(24), None, None])
    planned = running.client.verb("press", "rebase", without=[[2, 2]], dry_run=True)
    counts = planned["rows_to_learn"], planned["rows_to_hold"], planned["rows_without_label"]
    assert counts == (20, 4, 2)
    said = rebased(running, "--without", "2..2")
    assert live(running).steps == 20
    assert "1 lessons (1 rows) unlearned" in said
    # 20 and one afterwards, without the one; four came while it was frozen.
    assert "learned again: 20 rows; only predicted: 4 whose labels were held" in said
    assert "and 2 without a label" in said
    made = next(r for r in running.learner.events.naming("press") if r.kind == "rebase")
    verb = Order.from_record(made).verb
    assert (verb.learned_rows, verb.held_rows, verb.unlabelled_rows) == (20, 4, 2)
    old = json.loads(made.payload)
    for name in ("learned_rows", "held_rows", "unlabelled_rows"):
        del old["values"][name]
    before = Order.from_record(replace(made, payload=json.dumps(old).encode())).verb
    assert (before.excluded_rows, before.held_rows) == (1, None)
    planned = running.client.verb(
        "press", "rebase", without=[[3, 3]], learn_frozen=True, dry_run=True
    )
    assert (planned["rows_to_learn"], planned["rows_to_hold"]) == (23, 0)
    rebased(running, "--without", "3..3", "--learn-frozen")
    assert live(running).steps == 19 + 4


def test_rebase_refuses_what_makes_no_sense(running):
    for arguments, message in (
        (("--without", "500..600"), "no learned batch"),
        ((), "expected at least one of without"),
    ):
        assert message in rebased(running, *arguments, status=1)
    assert "two event numbers" in rebased(running, "--without", "x", status=2)
    assert live(running).seq == 20


def test_learning_goes_on_during_a_rebase_and_it_can_be_cancelled(tmp_path):
    with serving(press(tmp_path)) as running:
        running.client.learn(
            "press", columns={"temp": [20.0] * 50, "flow": [1.0] * 50}, labels=["ok"] * 50
        )
        teach(running, 0, 300)
        before = live(running)
        slow = running.learner.events.events

        def slowly(*args, **kwargs):
            for record in slow(*args, **kwargs):
                time.sleep(0.005)
                yield record

        running.learner.events.events = slowly
        begun = running.client.verb("press", "rebase", without=[[1, 1]], reason="x")
        assert begun["state"] == "running"
        assert (begun["excluded_lessons"], begun["excluded_rows"]) == (1, 50)
        with pytest.raises(Rejected, match=r"409.*a rebase is running"):
            running.client.verb("press", "rebase", without=[[2, 2]], reason="y")
        assert running.client.learn("press", [row(1)], ["ok"]).learned == [True]
        running.client.verb("press", "rebase/cancel")
        running.learner.events.events = slow
        deadline = time.monotonic() + 20
        while running.client.ask("press", "rebase")["state"] == "running":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert running.client.ask("press", "rebase")["state"] == "cancelled"
        deadline = time.monotonic() + 20
        while trail(running)[-1][1] != "rebase_cancel":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert live(running).steps == before.steps + 1


def test_an_interrupted_rebase_goes_on_after_a_restart(tmp_path):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 300)
        slow = running.learner.events.events

        def slowly(*args, **kwargs):
            for record in slow(*args, **kwargs):
                time.sleep(0.005)
                yield record

        running.learner.events.events = slowly
        running.client.verb("press", "rebase", without=[[7, 9]], reason="x", actor="kim")
        running.learner.events.events = slow
    with serving(press(tmp_path)) as running:
        deadline = time.monotonic() + 20
        while trail(running)[-1][1] != "rebase":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert live(running).steps == 297
        assert trail(running)[-1][0] == "kim"
        assert np.isfinite(running.client.predict("press", [row(1)]).probabilities).all()
