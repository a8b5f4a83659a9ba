"""How a rebase ends when it does not simply finish: by whom, why, and that it stays ended."""

from __future__ import annotations

import threading

import pytest

import service.learner.rebasings
from clients import Rejected
from model_store.errors import StoreUnavailable
from service.errors import Overloaded
from service.history.verbs import Order
from service.learner.rebasings import Rebasings
from service.manifest import STAGED
from service.rebase.replay import Rebaser
from service.rebase.selection import Selection
from tests.durability.aftermath import copy_log, copy_store, learning
from tests.line import teach, wait_for
from tests.serving import label, press, row, serving


def rebase(running, **selection):
    return running.client.verb("press", "rebase", reason="bad", actor="anna", **selection)


def at_rest(learner):
    """How the latest rebase of this process ended; None if there was none."""
    latest = learner.rebasings.latest("press")
    if latest is None:
        return None
    wait_for(lambda: not latest.running)
    return latest.status()["state"]


def events(learner):
    return [record.kind for record in learner.events.naming("press")]


def steps(learner):
    return learner.models["press"].published.steps


def aside(folder):
    """The files as a crash leaves them now."""
    copy_store(folder / "before", folder / "after")
    copy_log(folder / "before", folder / "after")


def last_deed(running):
    entry = running.client.ask("press", "audit")["entries"][-1]
    return entry["verb"], entry["actor"], entry["reason"]


@pytest.fixture
def held(monkeypatch):
    """Rebases replay nothing until this is set; a few events left are no reason to swap."""
    go = threading.Event()
    real = Rebaser.advance

    def advance(self, *arguments, **more):
        assert go.wait(30)
        return real(self, *arguments, **more)

    monkeypatch.setattr(Rebaser, "advance", advance)
    monkeypatch.setattr(service.learner.rebasings, "CLOSE_ENOUGH", 0)
    yield go
    go.set()


def left_open(folder, held):
    """Files of a learner that died after 12 lessons, while events 3 to 5 were being unlearned from
    snapshot 1 on."""
    with serving(press(folder / "before")) as running:
        teach(running, 0, 12)
        running.client.snapshot("press")
        rebase(running, without=[[3, 5]])
        aside(folder)
        running.client.verb("press", "rebase/cancel", actor="kim")
        held.set()


def test_one_that_is_cancelled_at_the_last_moment_is_over_by_the_cancellers_hand(tmp_path):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 20)
        learner = running.learner
        alone = learner.duties.alone

        def cancelled_just_before(waiting, do):
            running.client.verb("press", "rebase/cancel", reason="bob says stop", actor="bob")
            alone(waiting, do)

        learner.duties.alone = cancelled_just_before
        rebase(running, without=[[3, 5]])
        assert at_rest(running.learner) == "cancelled"
        assert events(running.learner) == ["rebase_begin", "rebase_cancel"]
        assert last_deed(running) == ("rebase_cancel", "bob", "bob says stop")
        assert steps(learner) == 20
    with learning(press(tmp_path)) as learner:
        assert at_rest(learner) is None
        assert events(learner) == ["rebase_begin", "rebase_cancel"]


def test_one_that_is_cancelled_while_it_replays_is_over_by_the_cancellers_hand(tmp_path, held):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 5)
        rebase(running, without=[[3, 3]])
        running.client.verb("press", "rebase/cancel", reason="enough", actor="bob")
        held.set()
        assert at_rest(running.learner) == "cancelled"
        assert last_deed(running) == ("rebase_cancel", "bob", "enough")
        with pytest.raises(Rejected, match="no rebase is running"):
            running.client.verb("press", "rebase/cancel", actor="bob")


def test_one_that_failed_says_why_in_the_trail_and_no_start_goes_on_with_it(tmp_path):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 20)
        snapshotting = running.learner.duties._snapshotting
        stage = snapshotting.stage

        def no_disk(*arguments):
            raise StoreUnavailable("no disk")

        snapshotting.stage = no_disk
        rebase(running, without=[[3, 5]])
        assert at_rest(running.learner) == "failed"
        assert last_deed(running) == ("rebase_cancel", "anna", "failed: no disk")
        snapshotting.stage = stage
        rebase(running, without=[[8, 9]])
        assert at_rest(running.learner) == "done"
        assert steps(running.learner) == 18
        ended = events(running.learner)
        assert ended == ["rebase_begin", "rebase_cancel", "rebase_begin", "rebase"]
    with learning(press(tmp_path)) as learner:
        assert at_rest(learner) is None
        assert events(learner) == ended
        assert steps(learner) == 18


def test_what_a_rebase_staged_before_it_failed_is_not_to_be_rolled_back_to(tmp_path):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 10)
        rebase(running, without=[[3, 5]])
        assert at_rest(running.learner) == "done"
        (staged,) = [
            s.version for s in running.client.snapshots("press") if s.raw["cause"] == STAGED
        ]
        before = running.client.model("press").seq
        for verb in ("rollback", "promote"):
            with pytest.raises(Rejected, match=f"409.*snapshot {staged} is what a rebase made"):
                running.client.verb("press", verb, version=staged, reason="x")
        assert running.client.model("press").seq == before
        assert running.client.manifest("press", staged)["cause"] == STAGED


def test_of_two_that_were_left_open_a_start_goes_on_with_the_newer_alone(tmp_path, held):
    with serving(press(tmp_path / "before")) as running:
        teach(running, 0, 12)
        rebase(running, without=[[3, 5]])
        begun = running.learner.rebasings.latest("press")
        # A log of a version that did not end its failures: a second begin behind an open one.
        running.learner.rebasings._latest.clear()
        rebase(running, without=[[8, 8]])
        aside(tmp_path)
        running.learner.rebasings.cancel("press", "kim", "x")
        begun.cancel("kim", "x")
        held.set()
        wait_for(lambda: not begun.running)
    with learning(press(tmp_path / "after")) as learner:
        assert at_rest(learner) == "done"
        found = list(learner.events.naming("press"))
        first, second = (r.seq for r in found if r.kind == "rebase_begin")
        ends = {
            Order.from_record(r).values()["begin"]: (r.kind, r.actor)
            for r in found
            if r.kind != "rebase_begin"
        }
        assert ends == {first: ("rebase_cancel", "apical"), second: ("rebase", "anna")}
        assert steps(learner) == 11


def test_one_by_line_spares_the_lessons_that_came_after_it_was_ordered(tmp_path, held):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 5)
        teach(running, 5, 3, line="press-3")
        rebase(running, lines=["press-3"])
        teach(running, 8, 4, line="press-3")
        held.set()
        assert at_rest(running.learner) == "done"
        status = running.client.ask("press", "rebase")
        assert (status["excluded_lessons"], status["excluded_rows"]) == (3, 3)
        assert steps(running.learner) == 5 + 4


def test_one_by_line_that_a_stop_interrupts_still_means_what_came_before_it(tmp_path, held):
    with serving(press(tmp_path / "before")) as running:
        teach(running, 0, 5)
        teach(running, 5, 3, line="press-3")
        rebase(running, lines=["press-3"])
        teach(running, 8, 4, line="press-3")
        aside(tmp_path)
        held.set()
        assert at_rest(running.learner) == "done"
    with learning(press(tmp_path / "after")) as learner:
        assert at_rest(learner) == "done"
        assert steps(learner) == 5 + 4


def test_a_late_label_of_an_excluded_batch_goes_with_it_whenever_it_comes(tmp_path, held):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 5)
        running.client.learn("press", [row(5), row(6)], [label(5), None], batch_id="bad")
        rebase(running, batch_ids=["bad"])
        running.client.label("press", "bad", [None, label(6)])
        teach(running, 7, 2)
        held.set()
        assert at_rest(running.learner) == "done"
        assert steps(running.learner) == 5 + 2


def test_an_end_that_the_queue_has_no_room_for_comes_later(tmp_path, held):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 5)
        rebase(running, without=[[3, 3]])
        inbox, refused = running.learner.inbox, []
        put = inbox.put

        def full(waiting):
            if waiting.work.order.kind == "rebase_cancel" and not refused:
                refused.append(waiting)
                raise Overloaded("the queue is full")
            return put(waiting)

        inbox.put = full
        running.client.verb("press", "rebase/cancel", reason="enough", actor="bob")
        held.set()
        assert at_rest(running.learner) == "cancelled"
        assert refused
        assert last_deed(running) == ("rebase_cancel", "bob", "enough")


def test_a_rebase_whose_end_finds_the_queue_full_tries_again(tmp_path):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 5)
        inbox, refused = running.learner.inbox, []
        ask = inbox.ask

        def full(work):
            if len(refused) < 2:
                refused.append(work)
                raise Overloaded("the queue is full")
            return ask(work)

        inbox.ask = full
        rebase(running, without=[[3, 3]])
        assert at_rest(running.learner) == "done"
        assert len(refused) == 2
        assert steps(running.learner) == 4


def test_a_base_that_retention_deletes_meanwhile_is_looked_for_again(tmp_path):
    with serving(press(tmp_path)) as running:
        learner = running.learner
        teach(running, 0, 3)
        running.client.snapshot("press")
        teach(running, 3, 3)
        preview, seen = learner.rebasings.preview, []

        def then_it_goes(*arguments):
            found = preview(*arguments)
            seen.append(found.base)
            if len(seen) == 1:
                learner.store.delete("press", found.base, "meanwhile")
            return found

        learner.rebasings.preview = then_it_goes
        rebase(running, without=[[5, 5]])
        assert at_rest(learner) == "done"
        assert seen == [2, 1]


def test_one_begun_before_a_start_looked_for_open_ones_runs_once(tmp_path, held, monkeypatch):
    left_open(tmp_path, held)
    held.clear()
    resume = Rebasings.resume

    def somebody_was_faster(self, model):
        self.begin(model, Selection(without=((8, 8),)), "kim", "x")
        resume(self, model)

    monkeypatch.setattr(Rebasings, "resume", somebody_was_faster)
    with learning(press(tmp_path / "after")) as learner:
        held.set()
        assert at_rest(learner) == "done"
        assert events(learner) == ["rebase_begin", "rebase_begin", "rebase_cancel", "rebase"]
        assert steps(learner) == 11


@pytest.mark.parametrize("name", ["manifest.json", "state.safetensors"])
def test_one_whose_base_was_damaged_meanwhile_ends_and_does_not_keep_a_start(tmp_path, held, name):
    left_open(tmp_path, held)
    file = tmp_path / "after/store/models/press/snapshots/00000001" / name
    file.chmod(0o644)
    file.write_bytes(b"")
    for _ in range(2):
        with learning(press(tmp_path / "after")) as learner:
            assert at_rest(learner) is None
            assert events(learner) == ["rebase_begin", "rebase_cancel"]
            assert steps(learner) == 12
