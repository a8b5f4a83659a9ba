"""Snapshots by cadence and those that are asked for, by many and under clocks that are set."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from clients import Client
from service.learner import cadence
from tests.line import teach, wait_for
from tests.serving import press, serving


def test_however_many_ask_for_one_of_the_same_event_it_is_one(tmp_path):
    with serving(press(tmp_path, model="keep_snapshots = 3")) as running:
        for start in (0, 2, 4):
            teach(running, start, 2)
            running.client.snapshot("press")
        teach(running, 6, 1)
        before = [s.version for s in running.client.snapshots("press")]

        def ask(index):
            with Client(running.url) as client:
                return client.snapshot("press").version

        with ThreadPoolExecutor(16) as pool:
            answered = set(pool.map(ask, range(150)))
        assert answered == {before[-1] + 1}
        assert running.client.snapshot("press").version == before[-1] + 1
        after = [s.version for s in running.client.snapshots("press")]
        assert [v for v in after if v not in before] == [before[-1] + 1]


def test_snapshots_of_what_has_not_changed_do_not_push_the_others_out(tmp_path):
    """Every verb is an event, and so gives its snapshot an event of its own."""
    with serving(press(tmp_path, model="keep_snapshots = 4\nkeep_aliased_days = 0")) as running:
        for start in (0, 2, 4):
            teach(running, start, 2)
            running.client.snapshot("press")
        kept = {s.version for s in running.client.snapshots("press")}
        for verb in ("freeze", "thaw") * 6:
            running.client.verb("press", verb, reason="to and fro")
            running.client.snapshot("press")
        wait_for(lambda: len(running.client.snapshots("press")) <= 5)
        left = {s.version for s in running.client.snapshots("press")}
        assert kept - {4} <= left


def test_gate_and_guard_have_seen_all_that_a_snapshot_has_learned(tmp_path):
    """However fast its rows came: they look at them behind the replies."""
    model = 'promotion = "gate"\nguard = "rollback"'
    found = []
    for pause in (0.0, 0.01):
        folder = tmp_path / str(pause)
        folder.mkdir()
        with serving(press(folder, model=model)) as running:
            teach(running, 0, 20)
            first = running.client.snapshot("press").version
            running.client.verb("press", "promote", version=first, reason="to be watched")
            for index in range(20, 41):
                teach(running, index, 1)
                time.sleep(pause)
            last = running.client.snapshot("press").version
            found.append(running.client.manifest("press", last)["steward"])
    assert found[0] == found[1]
    assert found[0]["guard"] is not None


def test_a_clock_that_is_set_back_holds_up_no_snapshot(tmp_path, monkeypatch):
    real = time.time
    model = "snapshot_every_s = 0.2"
    with serving(press(tmp_path, model=model)) as running:
        teach(running, 0, 1)
        monkeypatch.setattr(time, "time", lambda: real() - 40 * 86400)
        wait_for(lambda: running.client.snapshots("press")[-1].seq == 1)
        teach(running, 1, 1)
        wait_for(lambda: running.client.snapshots("press")[-1].seq == 2)
        text = httpx.get(f"{running.url}/metrics").text
    ages = [line for line in text.splitlines() if line.startswith("apical_snapshot_age_seconds{")]
    assert len(ages) == 1
    assert 0 <= float(ages[0].split()[-1]) < 60


def test_a_delay_of_labels_is_never_below_zero(tmp_path, monkeypatch):
    with serving(press(tmp_path)) as running:
        running.client.predict("press", [{"temp": 1.0, "flow": 1.0}], batch_id="a")
        running.learner.clock = lambda: time.time() - 3600
        assert running.client.label("press", "a", ["ok"]).outcomes == ["learned"]
        text = httpx.get(f"{running.url}/metrics").text
    (total,) = [x for x in text.splitlines() if x.startswith("apical_label_delay_seconds_sum")]
    assert 0 <= float(total.split()[-1]) < 600


def test_before_a_champion_every_snapshot_is_taken_and_then_they_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(cadence, "SHARE", 1e-6)
    with serving(press(tmp_path, model='promotion = "manual"\nsnapshot_every_rows = 1')) as running:

        def newest():
            return running.client.snapshots("press")[-1].seq

        for count in (1, 2, 3):
            teach(running, count - 1, 1)
            wait_for(lambda count=count: newest() == count)
        running.client.verb("press", "promote", version=newest() + 1, reason="good enough")
        before = newest()
        teach(running, 3, 40)
        time.sleep(1)  # the writer looks four times a second
        assert newest() == before
        # Nobody who asks for one waits.
        assert running.client.snapshot("press").seq == 44
