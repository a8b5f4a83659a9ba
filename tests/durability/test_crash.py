"""A short round of the crash benchmark; and that its comparison can find something."""

from __future__ import annotations

import copy
import json

import pytest

from benchmarks.crash import Crash
from benchmarks.crash_traffic import Exchange, batch
from model_store.log.log import EventLog
from tests.durability.aftermath import MODEL

ROUNDS = 2


@pytest.fixture(scope="module")
def crash(tmp_path_factory) -> Crash:
    made = Crash(tmp_path_factory.mktemp("crash"), seed=7)
    for _ in range(ROUNDS):
        made.round(traffic_s=1.0)
    return made


def compared(crash: Crash) -> dict[str, int]:
    """What a comparison of the files with what the lines remember finds now."""
    before = copy.copy(crash.tally)
    crash.compare()
    keys = ("lost", "duplicated", "reply_changed", "state_mismatches")
    return {key: getattr(crash.tally, key) - getattr(before, key) for key in keys}


# In the order of the file: the last ones alter the log.


def test_nothing_acknowledged_is_lost_by_a_kill_under_traffic(crash):
    tally = crash.tally
    assert tally.found == []
    assert tally.sound
    assert (tally.rounds, sum(tally.killed_at.values())) == (ROUNDS, ROUNDS)
    assert tally.acknowledged > 20
    assert tally.retries > 0
    assert tally.snapshots > 1


def test_a_label_that_no_event_teaches_is_found(crash):
    never_sent = Exchange(batch(((1.0, 2.0, 0.5),), (1,), "never sent"), b'{"learned":[false]}')
    crash.memory.exchanges.append(never_sent)
    assert compared(crash)["lost"] == 2  # neither taught nor remembered
    crash.memory.exchanges.remove(never_sent)


def test_a_reply_that_the_event_does_not_hold_is_found(crash):
    exchange = next(e for e in crash.memory.exchanges if e.request.labels and e.teaches)
    altered = json.dumps({**json.loads(exchange.reply), "model": "other"}).encode()
    crash.memory.exchanges.append(Exchange(exchange.request, altered))
    assert compared(crash)["reply_changed"] == 1
    crash.memory.exchanges.pop()


def test_a_label_that_is_taught_twice_is_found_as_is_a_state_without_it(crash):
    assert set(compared(crash).values()) == {0}
    with EventLog.open(crash.folder / "log") as log:
        events = list(log.events(MODEL))
        again = next(event for event in events if event.kind == "batch")
        fields = {name: getattr(again, name) for name in again.__dataclass_fields__}
        log.commit([type(again)(**{**fields, "seq": events[-1].seq + 1})])
    found = compared(crash)
    assert found["duplicated"] >= 1
    assert found["state_mismatches"] == 1  # no snapshot has learned it
    assert not crash.tally.sound
