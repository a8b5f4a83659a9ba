"""Batches that wait for labels: counted, aged, and known again after a restart."""

from __future__ import annotations

from model_store.log.log import Batch
from service.learner.awaiting import MOST, Awaiting
from tests.serving import label, press, row, serving


def batch(name, at, labels=b"\xff" * 8):
    return Batch("press", name, at, 0, b"", b"", labels, b"")


def gauges(running):
    found = {}
    for line in running.learner.metrics.exposition()[0].decode().splitlines():
        if line.startswith(("apical_unlabelled_batches{", "apical_oldest_unlabelled_seconds{")):
            found[line.split("{")[0]] = float(line.split()[-1])
    return found["apical_unlabelled_batches"], found["apical_oldest_unlabelled_seconds"]


def test_the_oldest_leaves_when_a_label_reaches_it():
    now = [100.0]
    awaiting = Awaiting([("a", 10.0)], lambda: now[0], 1e9)
    awaiting.saw(batch("b", 40.0))
    awaiting.saw(batch("a", 60.0))  # asked again: it waits since then
    assert (awaiting.count(), awaiting.age()) == (2, 90.0)
    awaiting.saw(batch("a", 60.0, b"\0" * 8))
    assert (awaiting.count(), awaiting.age()) == (1, 60.0)
    awaiting.saw(batch("b", 40.0, b"\xff" * 8 + b"\1" + b"\0" * 7))
    assert (awaiting.count(), awaiting.age()) == (0, 0.0)
    now[0] = 0.0
    awaiting.saw(batch("c", 40.0))
    assert awaiting.age() == 0.0  # a clock that went back


def test_no_more_than_so_many_are_looked_after():
    awaiting = Awaiting([], lambda: float(MOST + 10), 1e9)
    for k in range(MOST + 10):
        awaiting.saw(batch(str(k), float(k)))
    assert (awaiting.count(), awaiting.age()) == (MOST, float(MOST))


def test_nobody_waits_for_labels_that_would_come_too_late():
    now = [100.0]
    awaiting = Awaiting([("old", 10.0), ("new", 95.0)], lambda: now[0], 50.0)
    assert (awaiting.count(), awaiting.age()) == (1, 5.0)
    now[0] = 200.0
    awaiting.saw(batch("newer", 199.0))
    assert (awaiting.count(), awaiting.age()) == (1, 1.0)


def test_labels_that_are_waited_for_are_seen_and_known_after_a_restart(tmp_path):
    with serving(press(tmp_path)) as running:
        assert gauges(running) == (0, 0)
        client = running.client
        client.predict("press", [row(1)])  # nobody can label it later
        client.predict("press", [row(1), row(2)], batch_id="b-1")
        client.predict("press", [row(2)], batch_id="b-2")
        client.learn("press", [row(3)], [label(3)], batch_id="b-3")
        count, age = gauges(running)
        assert count == 2
        assert 0 < age < 60
    with serving(press(tmp_path)) as running:
        count, later = gauges(running)
        assert count == 2
        assert later >= age
        running.client.label("press", "b-1", [None, label(2)])
        assert gauges(running)[0] == 1
        running.client.label("press", "b-2", [label(2)])
        assert gauges(running) == (0, 0)
