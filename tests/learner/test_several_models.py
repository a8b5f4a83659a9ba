"""Several models in one process: one writer thread, an order of events for each."""

from __future__ import annotations

import threading

import pytest

from clients import Client, Rejected
from service.history.replay import replay
from service.publishing.taking import load_state
from service.state import State, same
from tests.kernel import KERNEL
from tests.line import wait_for
from tests.serving import label, row, serving, two


def test_each_model_has_its_own_order_state_snapshots_and_score(tmp_path):
    configuration = two(tmp_path)
    with serving(configuration) as running:

        def line(name: str, count: int, seqs: list[int]) -> None:
            with Client(running.url) as client:
                seqs.extend(client.learn(name, [row(i)], [label(i)]).seq for i in range(count))

        a, b = [], []
        threads = [
            threading.Thread(target=line, args=("a", 40, a)),
            threading.Thread(target=line, args=("b", 25, b)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert a == list(range(40))
        assert b == list(range(25))
        running.client.snapshot("a")
        assert [s.seq for s in running.client.snapshots("a")] == [0, 40]
        assert [s.seq for s in running.client.snapshots("b")] == [0]
        before = {name: m.published for name, m in running.learner.models.items()}
        running.client.rollback("a", 1, reason="only a")
        assert running.client.model("b").seq == 25
        assert running.learner.models["b"].published is before["b"]
        after = {name: m.published for name, m in running.learner.models.items()}
    with serving(configuration) as running:
        for name, state in after.items():
            assert same(running.learner.models[name].published, state)


def test_a_batch_id_belongs_to_one_model(tmp_path):
    with serving(two(tmp_path)) as running:
        for name in ("a", "b"):
            answer = running.client.learn(name, [row(1)], [label(1)], batch_id="same")
            assert (answer.model, answer.learned) == (name, [True])


def test_out_of_range_readings_follow_each_models_policy(tmp_path):
    with serving(two(tmp_path)) as running:
        high, edge = [{"temp": 20, "flow": 99}], [{"temp": 20, "flow": 10}]
        clipped = running.client.predict("a", high).probabilities
        assert clipped == running.client.predict("a", edge).probabilities
        with pytest.raises(Rejected, match=r"row 0, flow: expected a reading in \[0, 10\]"):
            running.client.predict("b", high)
        too_hot, missing = [{"temp": 999, "flow": 1}], [{"flow": 1}]
        assert (
            running.client.predict("b", too_hot).probabilities
            == running.client.predict("b", missing).probabilities
        )


def busy(running):
    """Whether the writer is within an event."""
    return running.learner._writer._gave_way > 0


def test_a_long_event_gives_way_to_other_models_and_keeps_the_order_of_its_own(tmp_path):
    with serving(two(tmp_path)) as running:
        rows = [row(i) for i in range(4000)]
        labels = [label(i) for i in range(4000)]
        seqs: dict[str, int] = {}

        def teach_long() -> None:
            with Client(running.url, timeout_s=120) as client:
                seqs["long"] = client.learn("a", rows, labels).seq

        def teach_own() -> None:
            with Client(running.url, timeout_s=120) as client:
                seqs["own"] = client.learn("a", [row(0)], [label(0)]).seq

        thread, own = threading.Thread(target=teach_long), threading.Thread(target=teach_own)
        thread.start()
        wait_for(lambda: busy(running))
        own.start()
        beside = 0
        while thread.is_alive():
            assert running.client.learn("b", [row(beside)], [label(beside)]).seq == beside
            beside += 1
        thread.join()
        own.join()
        # Some of them while it went on, none of its own model's before it.
        assert beside > 5
        assert seqs == {"long": 0, "own": 1}
        states = {name: m.published for name, m in running.learner.models.items()}
        assert states["a"].steps == 4001
        assert running.client.model("b").prequential["overall"]["rows"] == beside
    with serving(two(tmp_path)) as running:
        for name, state in states.items():
            assert same(running.learner.models[name].published, state)
            learner = running.learner
            born = load_state(learner.store, name, 1)
            again = replay(KERNEL, born, learner.events.events(name, after=0), load_none)
            assert same(again, state)


def load_none(model: str, version: int) -> State:
    raise AssertionError("no event of these names a snapshot")
