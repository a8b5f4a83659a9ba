"""What rows of before say of a suspicion."""

from __future__ import annotations

import numpy as np
import pytest

from service.learner.recent import KEPT_ROWS, PRESENT_ROWS, Recent, Window
from service.learner.shadows import Shadow
from service.rows import UNKNOWN


class ByTheFirst:
    """Says class 1 where the first sensor is above 0, and 0 where it is not, or missing."""

    asked = 0

    def forward(self, state, rows):
        self.asked += 1
        return np.eye(2)[(rows[:, 0] > 0).astype(int)]


NETWORK = Shadow(1, None)


def drawn(rng, count, share=0.5):
    rows = rng.normal(size=(count, 3)).astype(np.float32)
    rows[:, 0] = np.where(rng.random(count) < share, 1, -1) * (0.1 + np.abs(rows[:, 0]))
    return rows, (rows[:, 0] > 0).astype(np.int64)


def recent(lines, requests=60, each=20, share=0.5):
    found, rng = Recent(ByTheFirst(), (0, 0, 0)), np.random.default_rng(0)
    for at in range(requests):
        found.add(lines[at % len(lines)], *drawn(rng, each, share))
    return found


def silent(count=40):
    rows = np.random.default_rng(1).normal(size=(count, 3)).astype(np.float32)
    rows[:, 0] = np.nan
    return rows


def test_a_window_holds_whole_requests_and_gives_what_lies_before_the_present():
    window = Window(100)
    for at in range(10):
        window.add(("", np.full((30, 1), at, np.float32), np.full(30, at)))
    assert window.rows == 120
    assert [(rows[0, 0], len(rows)) for _, rows, _ in window.past(70)] == [(6, 30), (7, 20)]
    # Of large requests the one that raised the suspicion and the present one, however few are left.
    assert [len(rows) for _, rows, _ in window.past(0)] == [30, 30]
    assert window.past(120) == window.past(500) == []


@pytest.mark.parametrize("line", ["a", "b"])
def test_what_a_lines_silent_sensor_costs_is_measured_on_rows_of_before(line):
    found = recent(["a", "b"])
    assert found.own_handicap(line, silent(10), NETWORK, asked=False) is None
    # Too few to be sure of it.
    assert found.own_handicap(line, silent(10), NETWORK, asked=True) == 0.0
    assert found.own_handicap(line, silent(), NETWORK, asked=True) == pytest.approx(0.5, abs=0.1)
    other = "b" if line == "a" else "a"
    speaking, _ = drawn(np.random.default_rng(2), 40)
    assert found.own_handicap(other, speaking, NETWORK, asked=True) == 0.0
    # A suspicion that is over is forgotten.
    assert found.own_handicap(line, speaking, NETWORK, asked=False) is None
    assert found.own_handicap(line, speaking, NETWORK, asked=True) == 0.0


def test_a_line_that_is_seldom_heard_is_judged_by_what_its_sensor_is_worth_to_others():
    found = recent(["a"], requests=50, share=0.8)
    rows, labels = drawn(np.random.default_rng(3), PRESENT_ROWS + 30, share=0.0)
    for first in range(0, len(rows), 10):
        found.add("rare", rows[first : first + 10], labels[first : first + 10])
    # Its own, all of class 0, would say that nothing is lost.
    assert found.own_handicap("rare", silent(), NETWORK, asked=True) == pytest.approx(0.75, abs=0.1)


def test_of_a_line_that_was_never_heard_nothing_is_known():
    found = recent(["a"])
    assert found.own_handicap("new", silent(), NETWORK, asked=True) is None


def test_unlabelled_rows_tell_which_sensors_speak_and_no_error():
    found, rng = Recent(ByTheFirst(), (0, 0, 0)), np.random.default_rng(0)
    for _ in range(40):
        rows, labels = drawn(rng, 20)
        # Where there is a label it is wrong whatever the sensor says.
        found.add("a", rows, np.where(np.arange(20) < 10, UNKNOWN, 1 - labels))
    assert found.own_handicap("a", silent(), NETWORK, asked=True) == 0.0


def test_over_all_lines_each_loses_what_its_own_sensors_said():
    """Two of four lines fall silent: half of the rows lose half of what they knew."""
    lines = ["a", "b", "c", "d"]
    found, rng = recent(lines, requests=100), np.random.default_rng(4)
    for _ in range(20):
        for line in lines:
            rows, labels = drawn(rng, 20)
            found.novel(line, silent(20) if line in "ab" else rows, labels, asked=True)
    assert found.handicap(NETWORK) == pytest.approx(0.25, abs=0.08)


def test_lines_that_were_heard_before_there_was_a_champion_are_known_by_their_kept_rows():
    found, rng = recent(["a", "b"]), np.random.default_rng(6)
    for line, wrong in (("hard", 0.4), ("new", 1.0)):
        for _ in range(15 if line == "hard" else 12):
            rows, labels = drawn(rng, 20)
            found.add(line, rows, np.where(rng.random(20) < wrong, 1 - labels, labels))
    rates = found.rates(NETWORK, but=["a"])
    # Of the new one too few came before its latest 100.
    assert sorted(rates) == ["b", "hard"]
    assert rates["b"].champion == rates["b"].learner == 0.0
    assert rates["hard"].champion == pytest.approx(0.4, abs=0.1)
    assert rates["hard"].switches == pytest.approx(0.5, abs=0.1)
    # What raises a suspicion may be one large request: it is not asked about.
    rows, labels = drawn(rng, 600)
    found.add("b", rows, 1 - labels)
    assert found.rates(NETWORK, but=["a"])["b"].champion == 0.0


def test_rows_without_labels_are_no_part_of_the_mixture():
    found, rng = recent(["a", "b"], requests=100), np.random.default_rng(4)
    for _ in range(5):
        rows, labels = drawn(rng, 40)
        # Most that the silent one sends has no label yet.
        few = np.where(np.arange(40) < 4, labels, UNKNOWN)
        found.novel("a", silent(40), few, asked=True)
        found.novel("b", rows[:4], labels[:4], asked=True)
    assert found.handicap(NETWORK) == pytest.approx(0.25, abs=0.08)


def test_of_a_line_that_was_set_aside_nothing_is_known_any_more():
    found = recent(["a", "b"])
    found.forget("a")
    found.forget("never heard")
    assert found.own_handicap("a", silent(), NETWORK, asked=True) is None
    assert found.own_handicap("b", silent(), NETWORK, asked=True) == pytest.approx(0.5, abs=0.1)


def test_lines_without_end_take_no_memory_without_end():
    found, rng = Recent(ByTheFirst(), (0, 0, 0)), np.random.default_rng(0)
    for at in range(1_000):
        found.add(f"line {at}", *drawn(rng, 5))
    assert list(found._own) == [f"line {at}" for at in range(744, 1_000)]
    assert found._window.rows < KEPT_ROWS + 5
    assert all(window.rows < KEPT_ROWS + 5 for window in found._own.values())


def test_a_sensor_that_stands_still_for_a_request_at_a_time_is_not_asked_about_each_time():
    kernel, rng = ByTheFirst(), np.random.default_rng(5)
    found = Recent(kernel, (0, 0, 0))
    for _ in range(60):
        found.add("a", *drawn(rng, 20))
    for at in range(200):
        rows, _ = drawn(rng, 20)
        rows[:, 0] = 1.0 + at
        lost = found.own_handicap("a", rows, NETWORK, asked=True)
    assert lost == pytest.approx(0.5, abs=0.1)
    assert kernel.asked <= 2 * 9
