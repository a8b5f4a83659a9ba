"""The guard on requests of many rows, on classes that are new, and on what older manifests hold."""

from __future__ import annotations

import json

import numpy as np
import pytest

from service.evaluation.guard import Guard
from service.evaluation.lines import Lines
from service.evaluation.suspicion import LEAST_PAST_ROWS
from service.evaluation.wealth import Wealth, independent

SEEDS = range(8)


class Requests:
    """Sends a guard requests of ``size`` rows; ``classes`` of them by turns at random."""

    def __init__(self, guard: Guard, seed: int, size: int = 100, classes: int = 3) -> None:
        self.guard, self.size, self.classes = guard, size, classes
        self.rng = np.random.default_rng(seed)
        self.seq = 0
        self.kinds: list[str] = []

    def send(self, requests: int, learner: float, champion: float, *, lost: int = -1) -> None:
        """Error rates of both, which err together where they can; both err in all rows of the
        class ``lost``."""
        for _ in range(requests):
            self.seq += 1
            labels = self.rng.integers(self.classes, size=self.size)
            u = self.rng.random(self.size)
            said = [
                np.eye(4)[np.where((u < rate) | (labels == lost), (labels + 1) % 4, labels)]
                for rate in (learner, champion)
            ]
            signal = self.guard.observe(self.seq, labels, *said)
            if signal is not None:
                self.kinds.append(signal.kind)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_learner_that_is_lost_in_one_request_of_many_rows_is_not_stopped(seed):
    line = Requests(Guard(), seed)
    line.send(20, 0.05, 0.06)
    line.send(1, 0.6, 0.25)
    line.send(10, 0.05, 0.06)
    assert line.kinds == []


@pytest.mark.parametrize("size", [20, 100])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_learner_that_stays_below_the_champion_is_stopped_at_any_size_of_request(seed, size):
    line = Requests(Guard(), seed, size)
    line.send(2_000 // size, 0.05, 0.06)
    line.send(1_000 // size, 0.35, 0.06)
    assert line.kinds[:1] == ["guard"]


def test_a_request_counts_as_ten_rows_at_most_and_one_row_as_itself():
    assert independent(1) == 1.0
    assert all(rows * independent(rows) < 10 for rows in (20, 100, 100_000))
    one, packed = Wealth(0.03, restarts=True), Wealth(0.03, restarts=True)
    one.update(1)
    for _ in range(100):
        packed.update(1, independent(100))
    assert packed.logs == pytest.approx([100 * independent(100) * log for log in one.logs])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_class_that_nobody_has_seen_gets_its_time_and_one_that_is_known_does_not(seed):
    kinds = []
    for classes in (2, 3):
        line = Requests(Guard(), seed, 20, classes)
        line.send(100, 0.05, 0.05)
        line.classes = 3
        # Both networks err in every row of the third.
        line.send(40, 0.05, 0.05, lost=2)
        kinds.append(line.kinds)
    assert kinds == [[], ["guard"]]


def test_what_a_suspicion_holds_makes_no_class_known():
    guard = Guard()
    line = Requests(guard, 0, 20, 2)
    line.send(100, 0.05, 0.05)
    line.classes = 3
    line.send(20, 0.05, 0.05, lost=2)
    assert guard.suspicious
    seen = dict(guard.to_dict()["seen"])
    assert seen[0] == seen[1] == LEAST_PAST_ROWS
    assert 0 < seen[2] < 50


def test_a_restart_within_a_suspicion_changes_nothing_at_many_rows_a_request():
    a, b = Requests(Guard(), 1), Requests(Guard(), 1)
    for line in (a, b):
        line.send(20, 0.05, 0.06)
        line.send(2, 0.5, 0.3)
        assert line.guard.suspicious
    b.guard = Guard()
    b.guard.restore(json.loads(json.dumps(a.guard.to_dict())))
    for line in (a, b):
        line.send(30, 0.4, 0.3)
    assert a.kinds == b.kinds == ["guard"]
    assert json.dumps(a.guard.to_dict()) == json.dumps(b.guard.to_dict())


def test_a_manifest_of_before_knows_all_classes_and_takes_rows_for_independent():
    line = Requests(Guard(), 2)
    line.send(20, 0.05, 0.06)
    line.send(1, 0.5, 0.3)
    saved = json.loads(json.dumps(line.guard.to_dict()))
    del saved["seen"]
    for new in ("below", "back", "handicap"):
        del saved["suspicion"][new]
    old = Guard()
    old.restore(saved)
    assert old.suspicious
    assert old.to_dict()["seen"] is None
    again = Guard()
    again.restore(json.loads(json.dumps(old.to_dict())))
    assert again.to_dict() == old.to_dict()
    line.guard = old
    line.send(10, 0.5, 0.5)
    assert line.kinds == ["guard"]


def test_a_suspicion_that_is_open_is_a_doubt_until_it_is_not():
    lines, rng = Lines(), np.random.default_rng(0)
    rates = {"one": 0.05, "two": 0.05, "three": 0.05}
    doubts = []
    for seq in range(150):
        if seq == 60:
            rates["two"] = 0.4
        if seq == 72:
            rates["two"] = 0.05
        line = list(rates)[seq % 3]
        labels = rng.integers(0, 2, 20)
        said = np.eye(2)[labels ^ (rng.random(20) < rates[line])]
        lines.observe(seq, line, labels, said, said)
        doubts.append(lines.doubted)
    assert not any(doubts[:60])
    assert any(doubts[60:90])
    assert not doubts[-1]
