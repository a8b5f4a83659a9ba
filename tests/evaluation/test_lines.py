"""One guard a line: what is known of each line goes on after a restart."""

from __future__ import annotations

import json

import numpy as np

from service.evaluation.lines import MOST_LINES, Lines
from service.evaluation.packed import packed, unpacked

NAMES = ("one", "bad", "three")


class Stream:
    """Three lines in turns, five rows a request; both networks err in a twentieth of the rows, and
    in half of those of the bad line once it is poisoned."""

    def __init__(self, lines: Lines, seed: int) -> None:
        self.lines = lines
        self.rng = np.random.default_rng(seed)
        self.seq = 0

    def send(self, requests: int, *, poisoned: bool = False) -> int | None:
        """The request at which the bad line was named, if it was."""
        for _ in range(requests):
            self.seq += 1
            line = NAMES[self.seq % 3]
            labels = self.rng.integers(0, 2, 5)
            rate = 0.5 if poisoned and line == "bad" else 0.05
            said = [np.eye(2)[labels ^ (self.rng.random(5) < rate)] for _ in range(2)]
            if self.lines.observe(self.seq, line, labels, *said) is not None:
                assert line == "bad"
                return self.seq
        return None


def restarted(lines: Lines) -> Lines:
    """By way of a manifest."""
    found = Lines()
    found.restore(json.loads(json.dumps(lines.to_dict())))
    return found


def test_a_restart_anywhere_changes_nothing_of_when_a_line_is_named():
    for seed in range(5):
        whole = Stream(Lines(), seed)
        assert whole.send(600) is None
        named = whole.send(400, poisoned=True)
        assert named is not None
        for stop in (0, 1, 7, 60, named - 601):
            again = Stream(Lines(), seed)
            again.send(600)
            again.lines = restarted(again.lines)
            assert again.send(stop, poisoned=True) is None
            again.lines = restarted(again.lines)
            assert again.lines.suspects == restarted(again.lines).suspects
            assert again.send(400, poisoned=True) == named


def test_what_versions_before_saved_is_no_line():
    lines = Lines()
    lines.restore(None)
    assert not lines.several
    assert Stream(lines, 0).send(100) is None


def test_many_lines_make_no_manifest_large():
    lines = Lines()
    rng = np.random.default_rng(0)
    for number in range(MOST_LINES + 1):
        labels = rng.integers(0, 2, 700)
        sure = np.eye(2)[labels]
        lines.observe(number, f"line {number}", labels, sure, sure)
    assert len(json.dumps(lines.to_dict())) < 250_000


def test_lists_of_bits_come_back_as_they_were():
    plain = {
        "bits": [0, 1, 1] * 7,
        "few": [1, 0],
        "numbers": [0.5] * 20,
        "none": None,
        "deep": {"bits": [1] * 17, "empty": [], "large": [7] * 20},
    }
    assert unpacked(json.loads(json.dumps(packed(plain)))) == plain
    assert len(json.dumps(packed({"bits": [1] * 400}))) < 140


class Told:
    """Lines that err as told: ``(learner, champion)`` rates by line."""

    def __init__(self, seed: int = 0) -> None:
        self.lines = Lines()
        self.rng = np.random.default_rng(seed)
        self.seq = 0
        self.named: list[str] = []

    def send(self, line: str, rows: int, learner: float = 0.05, champion: float = 0.05) -> None:
        self.seq += 1
        labels = self.rng.integers(0, 2, rows)
        u = self.rng.random(rows)
        said = [np.eye(2)[labels ^ (u < rate)] for rate in (learner, champion)]
        if self.lines.observe(self.seq, line, labels, *said) is not None:
            self.named.append(line)


def test_a_line_behind_the_bad_one_is_not_accused_of_what_the_learner_learned_there():
    for seed in range(5):
        told = Told(seed)
        for _ in range(20):
            for line in NAMES:
                told.send(line, 100)
        for _ in range(20):
            for line in NAMES:
                # Its labels are right: the champion, which learns nothing, says so.
                told.send(line, 100, learner=0.5 if line == "three" else 0.05)
        assert told.named == []
        assert "three" not in told.lines.suspects


def test_what_all_lines_have_in_common_is_no_lines_fault():
    for seed in range(5):
        told = Told(seed)
        for rate in (0.05, 0.5):
            for _ in range(40):
                for line in NAMES:
                    told.send(line, 20, rate, rate)
        assert told.named == []


def test_a_line_is_accused_only_beside_others_that_were_heard_meanwhile():
    for others in (0, 1):
        told = Told()
        for _ in range(40):
            for line in NAMES:
                told.send(line, 20)
        for _ in range(40):
            told.send("bad", 20, 0.5, 0.5)
            for line in ("one", "three"):
                told.send(line, 20 * others)
        assert told.named[:1] == (["bad"] if others else [])
