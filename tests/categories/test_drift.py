"""Of a category the shares of its values are watched, and where it is missing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from service.drift import Columns, Monitor, Reference
from tests.categories.alloys import MODEL, casting
from tests.line import wait_for
from tests.serving import serving

VALUES = ("Al", "Cu", "Zn", "鋼")
COLUMNS = Columns.made(["temp", "alloy"], [(0, 10), (0, 3)], [(), VALUES])
USUAL = (0.4, 0.2, 0.2, 0.2)


def rows(count, seed, shares=USUAL, block=1.0, missing=0.0):
    """Rows of a mix, in blocks of so many on the mean."""
    rng = np.random.default_rng(seed)
    said: list[int] = []
    while len(said) < count:
        said += [int(rng.choice(4, p=shares))] * rng.geometric(1 / block)
    alloy = np.array(said[:count], np.float32)
    alloy[rng.random(count) < missing] = np.nan
    return np.stack([rng.normal(5, 1, count), alloy], 1).astype(np.float32)


def watched(block=1.0):
    made = Reference.of(COLUMNS.of(rows(10_000, 1, block=block)), COLUMNS.names)
    return Monitor(Reference.from_dict(json.loads(json.dumps(made.to_dict()))))


def told(monitor, sent):
    return COLUMNS.told(monitor.update(COLUMNS.of(sent)))


@pytest.mark.parametrize("block", [1.0, 30.0], ids=["one by one", "in blocks"])
def test_a_steady_mix_raises_nothing(block):
    monitor = watched(block)
    for seed in range(2, 22):
        assert told(monitor, rows(1000, seed, block=block)) == []


# The mean of the indices is 1.2 in all of them.
@pytest.mark.parametrize(
    ("shares", "moved"),
    [((0.25, 0.45, 0.15, 0.15), "Cu"), ((0.6, 0.0, 0.0, 0.4), "鋼"), ((0.2, 0.5, 0.2, 0.1), "Al")],
)
def test_another_mix_is_told_by_its_values_where_indices_have_the_same_mean(shares, moved):
    assert sum(k * p for k, p in enumerate(shares)) == pytest.approx(1.2)
    monitor = watched()
    assert told(monitor, rows(2000, 2)) == []
    alarms = told(monitor, rows(2000, 3, shares))
    assert {alarm.feature.partition("=")[0] for alarm in alarms} == {"alloy"}
    assert ("shift", f"alloy={moved}") in {(a.kind, a.feature) for a in alarms}


def test_a_value_that_is_never_said_any_more_is_told_of_as_such():
    alarms = told(watched(), rows(2000, 3, (0.6, 0.0, 0.0, 0.4)))
    said = [a.sentence for a in alarms if (a.kind, a.feature) == ("stuck", "alloy=Zn")]
    assert [s.partition(":")[0] for s in said] == ["alloy=Zn is said always or never"]


def test_the_sentence_says_the_share():
    monitor = watched()
    (first, *_) = told(monitor, rows(2000, 3, (0.1, 0.7, 0.1, 0.1)))
    assert first.sentence.startswith(f"{first.feature} shifted: mean 0.")


def test_a_category_that_is_missing_is_told_of_once():
    monitor = watched()
    alarms = told(monitor, rows(1000, 3, missing=0.5))
    assert [(alarm.kind, alarm.feature) for alarm in alarms] == [("missing", "alloy")]
    assert alarms[0].sentence.startswith("alloy is missing in ")
    said = [s for s in COLUMNS.told(monitor.statistics()) if s.kind == "missing"]
    assert [(s.feature, s.raised) for s in said] == [("temp", False), ("alloy", True)]


def test_a_value_that_is_none_of_them_takes_from_the_others_share():
    monitor = watched()
    sent = rows(2000, 3)
    sent[sent[:, 1] == 3, 1] = -1
    assert {a.feature for a in told(monitor, sent)} == {"alloy=鋼"}


def test_exported_are_the_first_features_and_the_sensors_of_their_values():
    assert COLUMNS.exported(2) == {"temp", "alloy", "alloy=Al"}
    assert COLUMNS.exported(1) == {"temp"}


def test_over_http_the_alarm_names_sensor_and_value(tmp_path):
    def send(client, count, seed, odds):
        rng = np.random.default_rng(seed)
        alloys = rng.choice(["AlSi9", "AlSi12", "鋼"], count, p=odds).tolist()
        columns = {
            "temp": rng.normal(700, 10, count),
            "alloy": alloys,
            "pressure": rng.normal(5, 1, count),
        }
        client.predict(MODEL, columns=columns)

    top = "[drift]\nreference_rows = 2000\n"
    with serving(casting(tmp_path, top=top)) as running:
        send(running.client, 2000, 0, (0.5, 0.3, 0.2))
        wait_for(lambda: running.client.ask(MODEL, "drift")["watched"])
        send(running.client, 2000, 1, (0.5, 0.3, 0.2))
        wait_for(lambda: running.learner.watcher.waiting_rows == 0)
        assert running.client.ask(MODEL, "drift")["raised"] == []
        send(running.client, 2000, 2, (0.1, 0.3, 0.6))
        wait_for(lambda: running.client.ask(MODEL, "drift")["raised"])
        raised = {r["feature"] for r in running.client.ask(MODEL, "drift")["raised"]}
        assert raised & {"alloy=AlSi9", "alloy=鋼"}
        assert not raised & {"temp", "pressure"}
