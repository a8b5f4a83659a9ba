"""Open alarms: one a kind and line, counted until somebody acknowledges it, over restarts."""

from __future__ import annotations

import httpx
import pytest
from click.testing import CliRunner

from clients import ApicalClientError
from service.cli import main
from service.history.replay import replay
from service.publishing.taking import load_state
from service.state import same
from tests.durability.aftermath import copy_log, copy_store, learning
from tests.kernel import KERNEL
from tests.learner.test_drift_over_http import Line as Drifting
from tests.learner.test_drift_over_http import drift
from tests.learner.test_gate_and_guard import Line, raw
from tests.learner.test_quarantine import Lines
from tests.line import trail, wait_for
from tests.serving import IMMEDIATE, press, serving

TELLS = (
    'promotion = "gate"\nprobation_rows = 200\nguard = "alarm"\nguard_rows = 60\n'
    "snapshot_every_rows = 200"
)


def opened(running):
    return running.client.ask("press", "alarms")["alarms"]


def ack(running, *numbers, reason="looked at"):
    return running.client.verb("press", "acknowledge", alarms=[*numbers], reason=reason)


def gauge(running, kind):
    text = httpx.get(f"{running.url}/metrics").text
    (line,) = [
        line
        for line in text.splitlines()
        if line.startswith(f'apical_alarms_open{{kind="{kind}",model="press"}}')
    ]
    return float(line.split()[-1])


def poisoned_until(running, line, condition):
    """Labels that are right, and then ones that are not."""
    line.send(800)
    for _ in range(40):
        line.send(50, flip=0.5)
        if condition():
            return
    pytest.fail("no alarm")


def events(running):
    return list(running.learner.events.events("press"))


def test_an_alarm_counts_what_follows_until_somebody_acknowledges_it(tmp_path):
    with serving(press(tmp_path, model=TELLS)) as running:
        line = Line(running)
        line.send(400)
        assert opened(running) == []
        assert gauge(running, "guard") == 0
        poisoned_until(running, line, lambda: opened(running))
        (first,) = opened(running)
        assert (first["kind"], first["times"], first["id"]) == ("guard", 1, first["last_seq"])
        assert "the labels stopped teaching" in first["reason"]
        # The trail is written behind the event.
        wait_for(lambda: [e["seq"] for e in trail(running, "alarm")] == [first["id"]])
        poisoned_until(running, line, lambda: opened(running)[0]["times"] == 2)
        assert gauge(running, "guard") == 1
        before = opened(running)
    with serving(press(tmp_path, model=TELLS)) as running:
        # It is as it was, and the next one is counted into it too.
        assert opened(running) == before
        line.running = running
        poisoned_until(running, line, lambda: opened(running)[0]["times"] == 3)
        (counted,) = opened(running)
        assert (counted["id"], counted["first_at"]) == (first["id"], first["first_at"])
        assert counted["last_seq"] > before[0]["last_seq"]
        assert counted["worst"] >= first["worst"]
        # People read of it once; the log has every one.
        assert [e["seq"] for e in trail(running, "alarm")] == [first["id"]]
        assert sum(event.kind == "alarm" for event in events(running)) == 3
        live = running.learner.models["press"].published
        done = ack(running, first["id"], reason="the gauge was swapped")
        assert opened(running) == []
        after = running.learner.models["press"].published
        assert same(after._replace(seq=live.seq), live)
        (deed,) = trail(running, "acknowledge")
        assert (deed["seq"], deed["reason"]) == (done["seq"], "the gauge was swapped")
        assert deed["details"]["alarms"] == [first["id"]]
        # From here on it is news again.
        poisoned_until(running, line, lambda: opened(running))
        wait_for(lambda: len(trail(running, "alarm")) == 2)
        again = opened(running)
        state, store = running.learner.models["press"].published, running.learner.store

        def load(model, version):
            return load_state(store, model, version)

        born = load("press", 1)
        log = running.learner.events.events("press", after=born.seq)
        assert same(replay(KERNEL, born, log, load), state)
    with serving(press(tmp_path, model=TELLS)) as running:
        assert opened(running) == again


def test_after_a_crash_the_log_tells_of_open_alarms(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    model = TELLS.replace("snapshot_every_rows = 200", "snapshot_every_rows = 100000")
    model = model.replace('promotion = "gate"', 'promotion = "immediate"')
    with serving(press(before, model=model)) as running:
        line = Line(running)
        line.send(600)
        running.client.snapshot("press")
        poisoned_until(running, line, lambda: opened(running))
        poisoned_until(running, line, lambda: opened(running)[0]["times"] == 2)
        known = running.learner.models["press"].alarms.opened()
        assert running.client.snapshots("press")[-1].raw["seq"] < known[0].id
        # As the disk is when the power fails.
        copy_store(before, after)
        copy_log(before, after)
    with learning(press(after, model=model)) as learner:
        assert learner.models["press"].alarms.opened() == known


def test_an_open_alarm_keeps_the_guard_from_nothing(tmp_path):
    model = TELLS.replace('guard = "alarm"', 'guard = "freeze"')
    with serving(press(tmp_path, model=TELLS)) as running:
        line = Line(running)
        line.send(400)
        poisoned_until(running, line, lambda: opened(running))
        (first,) = opened(running)
    with serving(press(tmp_path, model=model)) as running:
        line.running = running
        poisoned_until(running, line, lambda: raw(running)["frozen"])
        (still,) = opened(running)
        assert (still["id"], still["times"]) == (first["id"], 2)
        wait_for(lambda: trail(running, "freeze"))
        (deed,) = trail(running, "freeze")
        assert deed["seq"] == still["last_seq"]
        text = httpx.get(f"{running.url}/metrics").text
        assert 'apical_guard_signals_total{kind="guard",model="press"} 1.0' in text
        # Whoever lets it learn again has looked at it.
        running.client.verb("press", "thaw", reason="labels are right again")
        assert opened(running) == []


def test_another_line_is_another_alarm_and_a_release_closes_its_own(tmp_path):
    model = 'promotion = "gate"\nguard_rows = 100\nsnapshot_every_rows = 200\nguard = "rollback"'
    with serving(press(tmp_path, model=model)) as running:
        lines = Lines(running)
        lines.send(150)
        lines.send(60, flip=0.5)
        (alarm,) = opened(running)
        assert (alarm["kind"], alarm["of"], alarm["times"]) == ("line", "bad", 1)
        assert gauge(running, "line") == 1
        wait_for(lambda: [e["seq"] for e in trail(running, "quarantine")] == [alarm["id"]])
        running.client.verb("press", "release", line="bad", reason="gateway replaced")
        assert opened(running) == []


def test_a_sensor_that_drifts_is_one_alarm_until_its_reference_is_renewed(tmp_path):
    with serving(press(tmp_path, top=drift(), model=IMMEDIATE)) as running:
        line = Drifting(running.client)
        line.predict(1000)
        wait_for(lambda: running.client.ask("press", "drift")["watched"])
        line.predict(500, temp=75.0)
        wait_for(lambda: opened(running))
        line.predict(500)
        wait_for(lambda: not running.client.ask("press", "drift")["raised"])
        times = {a["of"]: a["times"] for a in opened(running)}["temp"]
        line.predict(500, temp=75.0)
        wait_for(lambda: {a["of"]: a["times"] for a in opened(running)}["temp"] > times)
        known = {a["of"]: a for a in opened(running)}
        assert known["temp"]["kind"] == "drift"
        assert known["temp"]["worst"] > 1
        told = [e for e in trail(running, "alarm") if e["details"]["of"] == "temp"]
        assert [e["seq"] for e in told] == [known["temp"]["id"]]
        assert told[0]["actor"] == "drift"
        assert gauge(running, "drift") == len(known)
        running.client.verb("press", "drift/renew", reason="a new material", actor="kim")
        assert opened(running) == []
        assert [e["actor"] for e in trail(running, "acknowledge")] == ["kim"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"alarms": [7]}, "expected open alarms (none), found 7"),
        ({"alarms": []}, "alarms: expected a list of whole numbers"),
        ({"alarms": "all"}, "alarms: expected a list of whole numbers"),
        ({"alarms": [True]}, "alarms: expected a list of whole numbers"),
        ({}, "alarms: expected a list of whole numbers"),
    ],
)
def test_what_is_no_open_alarm_is_refused_and_changes_nothing(tmp_path, body, said):
    with serving(press(tmp_path, model=IMMEDIATE)) as running:
        with pytest.raises(ApicalClientError) as refused:
            running.client.verb("press", "acknowledge", reason="seen", **body)
        assert said in str(refused.value)
        assert events(running) == []


def test_alarms_on_the_command_line(tmp_path):
    def apical(*words):
        done = CliRunner().invoke(main, [*words, "--url", running.url])
        assert done.exit_code == 0, done.output
        return done.output

    with serving(press(tmp_path, model=TELLS)) as running:
        assert "no alarm is open" in apical("alarms")
        assert "no alarm is open" in apical("alarms", "ack", "--all", "--reason", "x")
        line = Line(running)
        line.send(400)
        poisoned_until(running, line, lambda: opened(running))
        (alarm,) = opened(running)
        said = apical("alarms")
        assert f"{alarm['id']}" in said
        assert "the labels stopped teaching" in said
        status = apical("status")
        assert f"alarm       {alarm['id']}: guard since" in status
        assert f"next        once that is dealt with: `apical alarms ack {alarm['id']}" in status
        poisoned_until(running, line, lambda: opened(running)[0]["times"] == 2)
        assert ", 2 times, the last at" in apical("status")
        said = apical("alarms", "ack", "--all", "--reason", "looked at", "--actor", "kim")
        assert f"press: {alarm['id']} acknowledged as event" in said
        assert trail(running, "acknowledge")[0]["actor"] == "kim"
        assert "alarm  " not in apical("status")
        wrong = CliRunner().invoke(main, ["alarms", "ack", "--reason", "x", "--url", running.url])
        assert "expected either ids of alarms or --all" in wrong.output
