"""Nobody waits for the arithmetic of drift: not the writer, not a scrape, not another model."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from service.drift import Reference
from service.metrics.declared import Metrics
from service.watcher import Seen, Watched, Watcher
from tests.line import wait_for

SAID = np.full((64, 2), 0.5, np.float32)


def rows(seed=0, count=64):
    return np.random.default_rng(seed).normal(50, 5, (count, 2)).astype(np.float32)


@pytest.fixture
def watcher():
    made = Watcher(
        Metrics(), lambda model, alarm: None, rows_per_false_alarm=200_000, max_features=64
    )
    made.start()
    yield made
    made.close()


@pytest.fixture
def busy(monkeypatch):
    """A reference that is being made for as long as the test likes."""
    started, go_on, real = threading.Event(), threading.Event(), Reference.of

    def of(*arguments):
        started.set()
        assert go_on.wait(60)
        return real(*arguments)

    monkeypatch.setattr(Reference, "of", of)
    yield started, go_on
    go_on.set()


def test_everything_goes_on_while_a_reference_is_made(watcher, busy):
    started, go_on = busy
    for model in ("slow", "other"):
        watcher.watch(model, ["a", "b"], None, collect=512)
    for seed in range(8):
        watcher.see("slow", rows(seed), SAID)
    assert started.wait(30)
    # On this thread, which would wait for ever.
    watcher.see("other", rows(), SAID)
    watcher.measure()
    assert watcher.state("slow")["watched"] is False
    assert watcher.reference("slow") is None
    watcher.restart("slow", None)
    watcher.renew("other")
    go_on.set()
    wait_for(lambda: watcher.waiting_rows == 0)


def test_a_rollback_while_a_reference_is_made_is_what_counts(watcher, busy):
    started, go_on = busy
    watcher.watch("m", ["a", "b"], None, collect=512)
    for seed in range(8):
        watcher.see("m", rows(seed), SAID)
    assert started.wait(30)
    go_on.set()
    wait_for(lambda: watcher.reference("m") is not None)
    first = watcher.reference("m")
    go_on.clear()
    started.clear()
    watcher.renew("m")
    for seed in range(9, 17):
        watcher.see("m", rows(seed), SAID)
    assert started.wait(30)
    watcher.restart("m", first)
    assert watcher.reference("m") == first
    go_on.set()
    wait_for(lambda: watcher.state("m")["watched"])
    assert watcher.reference("m") == first


def test_late_losses_alone_do_not_pile_up():
    watched = Watched(["a", "b"], 200_000)
    nothing = np.zeros((0, 2), np.float32)
    watched.collect(Seen("m", rows(), SAID, None), 512)
    for _ in range(5000):
        watched.collect(Seen("m", nothing, nothing, np.zeros(1)), 512)
    assert len(watched.collected) <= 1026
    assert watched.collected_rows == 64
    for seed in range(7):
        watched.collect(Seen("m", rows(seed), SAID, None), 512)
    assert watched.reference is not None


def test_rows_of_a_failed_try_are_not_all_lost_and_the_state_says_why(monkeypatch):
    watched = Watched(["a", "b"], 200_000)
    real, failed = Reference.of, []

    def once(*arguments):
        if not failed:
            failed.append(1)
            raise ZeroDivisionError("an odd column")
        return real(*arguments)

    monkeypatch.setattr(Reference, "of", once)
    for seed in range(8):
        watched.collect(Seen("m", rows(seed), SAID, None), 512)
    assert watched.trouble == "an odd column"
    assert watched.collected_rows == 256
    for seed in range(4):
        watched.collect(Seen("m", rows(seed), SAID, None), 512)
    assert watched.reference is not None
    assert watched.trouble is None


def test_a_reading_far_beyond_its_range_counts_as_one_just_beyond():
    watched = Watched(["a", "b"], 200_000, [(0.0, 100.0), (0.0, 100.0)])
    odd = rows()
    odd[3] = 3.4e38, -9999
    raw, _, _ = watched.joined([Seen("m", odd, SAID, None)])
    assert raw[3].tolist() == [150.0, -50.0]


def test_rows_of_before_a_rollback_are_not_measured_after_it():
    alarms = []
    watcher = Watcher(
        Metrics(),
        lambda model, alarm: alarms.append(alarm),
        rows_per_false_alarm=200_000,
        max_features=64,
    )
    names = ["a", "b"]
    reference = Reference.of(rows(count=512), names, np.full((512, 2), 0.5, np.float32), None)
    watcher.watch("m", names, reference.to_dict())
    # They wait, since nobody looks at them yet.
    for seed in range(8):
        watcher.see("m", rows(seed) + 100, SAID)
    watcher.restart("m", None)
    watcher.see("m", rows(1), SAID)
    # What the thread does at each look, here at once.
    watcher._take("m", watcher._drained()["m"])
    assert alarms == []
    for seed in range(8):
        watcher.see("m", rows(seed) + 100, SAID)
    watcher._take("m", watcher._drained()["m"])
    assert alarms
