"""The kept index says what the log says: after restarts, rollbacks, late labels and set clocks, and
after anything that can befall its file."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from model_store.log.log import EventLog, Record
from service.answers import AnsweredBy, batch_answer, outcome_answer
from service.history.lessons import Lesson
from service.history.verbs import Freeze, Order, Rollback
from service.operations import index_file, score_index
from service.operations.counting import errors_by_time
from service.operations.index_file import FILE_NAME
from service.operations.score_index import ScoreIndex
from service.operations.stretches import MOST_LINES, OTHER_LINES, Tally
from tests.line import teach, wait_for
from tests.serving import label, press, row, serving

BEGAN = 1.7e9
CLASSES = ("ok", "worn")


class Stream:
    """A log of three lines: batches of several rows, late labels of long ago, verbs, and a clock on
    the wall that jumps forth and back."""

    def __init__(self, log: EventLog, seed: int = 0) -> None:
        self.log = log
        self.seq = log.last_seq("m")
        self.rng = np.random.default_rng(seed)
        self.wall = BEGAN
        self.batches: list[tuple[str, float, float]] = []

    def go(self, count: int) -> None:
        self.log.commit([self._event() for _ in range(count)])

    def _event(self) -> Record:
        rng = self.rng
        self.seq += 1
        self.wall += float(rng.exponential(40.0))
        chance = rng.random()
        if chance < 0.01:
            self.wall += float(rng.choice([-86_400.0, 3_700.0, 86_400.0]))
        if chance < 0.03:
            verb = Freeze() if rng.random() < 0.5 else Rollback(3)
            return Order("m", verb, "kim", "odd").to_record(self.seq, self.wall)
        line = str(rng.choice(["L1", "L2", ""]))
        size = int(rng.integers(1, 5))
        labels = rng.integers(-1, 2, size)
        labels[0] = abs(labels[0])
        rows = np.zeros((size, 2), np.float32)
        probabilities = rng.dirichlet([1, 1], size).astype(np.float32)
        by = AnsweredBy("learner", self.seq, 1)
        known = (labels >= 0).tolist()
        if chance < 0.3 and self.batches:
            line, at, observed = self.batches[int(rng.integers(len(self.batches)))]
            lesson = Lesson(rows, labels, probabilities, arrived=at)
            answer = outcome_answer("m", "b", by, known, ["learned"] * size)
            return Record(
                "m", self.seq, "late", self.wall, lesson.to_bytes(), answer, "b", line, observed
            )
        observed = self.wall - 7_200 if line == "L1" else None
        self.batches.append((line, self.wall, observed))
        lesson = Lesson(rows, labels, set_aside=bool(rng.random() < 0.05))
        answer = batch_answer("m", CLASSES, probabilities, known, by, None)
        payload = lesson.to_bytes()
        return Record("m", self.seq, "batch", self.wall, payload, answer, None, line, observed)


QUESTIONS = (
    {"width_s": 600.0},
    {"width_s": 3_600.0, "observed": True},
    {"width_s": 86_400.0, "line": "L1"},
    {"width_s": 600.0, "line": "", "since": BEGAN + 1_000, "until": BEGAN + 9_000},
    {"width_s": 70.0, "since": BEGAN + 1_000, "until": BEGAN + 9_000},
    {"width_s": 900.0, "observed": True, "line": "L1", "since": BEGAN - 4_000},
)


def same(index: ScoreIndex, log: EventLog) -> None:
    """Every answer by the index is the answer by the log."""
    for question in QUESTIONS:
        found = index.errors_by_time("m", **question)
        fresh = errors_by_time(log, "m", **question)
        assert found["stretches"] == fresh["stretches"], question
        assert found["left_out"] == fresh["left_out"] == found["dropped_rows"] == 0


@pytest.fixture
def log(tmp_path):
    with EventLog.open(tmp_path) as log:
        yield log


def quiet(log: EventLog) -> ScoreIndex:
    """An index whose thread ends at once, so that only questions bring it up to date."""
    return ScoreIndex(log, lambda: True)


def test_it_says_what_the_log_says_and_reads_no_event_twice(log, monkeypatch):
    monkeypatch.setattr(score_index, "SLICE", 70)
    stream, index = Stream(log), quiet(log)
    same(index, log)
    for part in (1, 200, 333):
        before = index.read
        stream.go(part)
        same(index, log)
        assert index.read == before + part
    # Another process, or this one after a restart.
    again = quiet(log)
    same(again, log)
    assert again.read == 0
    stream.go(5)
    same(again, log)
    assert again.read == 5


def test_a_late_label_counts_where_its_rows_do(tmp_path):
    clock = [BEGAN]
    with serving(press(tmp_path)) as running:
        running.learner.clock = lambda: clock[0]
        running.client.predict("press", [row(1), row(2)], batch_id="early", line="L1")
        clock[0] += 7_200
        teach(running, 3, 2, line="L1")
        running.client.label("press", "early", [label(1), label(2)], line="L1")
        found = running.client.ask("press", "events", every_s=600)["stretches"]
        late = next(r for r in running.learner.events.events("press") if r.kind == "late")
        arrived = Lesson.from_bytes(late.payload).arrived
        assert arrived is not None
        assert late.received_at - arrived > 7_000
        assert [(s["rows"], s["first_seq"], s["last_seq"]) for s in found] == [(2, 3, 3), (2, 1, 2)]
        assert [s["ranges"] for s in found] == [[[3, 3]], [[1, 2]]]
        assert found[0]["since"] == arrived // 600 * 600


@pytest.mark.parametrize("how", ["deleted", "garbage", "empty", "flipped", "row", "format", "dir"])
def test_whatever_befalls_its_file_it_is_made_anew(log, tmp_path, how):
    stream = Stream(log)
    stream.go(300)
    first = quiet(log)
    same(first, log)
    path = tmp_path / FILE_NAME
    first._file.close()
    if how == "deleted":
        path.unlink()
    elif how == "garbage":
        path.write_bytes(os.urandom(20_000))
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "flipped":
        data = bytearray(path.read_bytes())
        for at in range(4096 + 50, len(data), 1000):
            data[at] ^= 0xFF
        path.write_bytes(data)
    elif how == "dir":
        path.unlink()
        path.mkdir()
    else:
        connection = sqlite3.connect(path)
        if how == "row":
            connection.execute(
                "DELETE FROM stretches WHERE start=(SELECT max(start) FROM stretches)"
            )
        else:
            connection.execute("PRAGMA user_version=99")
        connection.commit()
        connection.close()
    index = quiet(log)
    # A folder cannot be replaced by a file: then the log itself is asked.
    same(index, log)
    assert index.read == (0 if how == "dir" else 300)


def test_it_is_altered_while_it_is_open(log, tmp_path):
    stream, index = Stream(log), quiet(log)
    stream.go(100)
    same(index, log)
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("UPDATE stretches SET counts=replace(counts, '1', '2')")
    connection.commit()
    connection.close()
    same(index, log)
    assert index.read == 200


def test_a_log_that_is_no_longer_the_same_is_counted_anew(tmp_path):
    with EventLog.open(tmp_path / "log") as log:
        stream = Stream(log)
        stream.go(200)
        log.backup(tmp_path / "copy.sqlite3")
        stream.go(50)
        index = quiet(log)
        same(index, log)
        # Pruned.
        assert log.prune("m", 101, 1e12) == 100
        same(index, log)
        assert index.read == 250 + 150
        assert index.errors_by_time("m", 600.0)["stretches"][0]["first_seq"] > 100
    # A backup in its place, and it goes another way from there.
    for name in ("events.sqlite3", "events.high"):
        (tmp_path / "log" / name).unlink(missing_ok=True)
    (tmp_path / "copy.sqlite3").rename(tmp_path / "log" / "events.sqlite3")
    with EventLog.open(tmp_path / "log") as log:
        Stream(log, seed=9).go(80)
        index = quiet(log)
        same(index, log)
        assert index.read == 280


def test_one_that_is_far_behind_asks_the_log_and_catches_up_beside_it(log, monkeypatch):
    monkeypatch.setattr(score_index, "MOST_EVENTS", 50)
    Stream(log).go(400)
    ended = threading.Event()
    index = ScoreIndex(log, ended.is_set)
    found, fresh = index.errors_by_time("m", 600.0), errors_by_time(log, "m", 600.0)
    assert found["stretches"] == fresh["stretches"]
    wait_for(lambda: index.read == 400)
    wait_for(lambda: not index.advance("m"))
    monkeypatch.undo()
    same(index, log)
    assert index.read == 400
    ended.set()
    index._thread.join(10)
    assert not index._thread.is_alive()


def test_its_size_is_bounded_and_what_is_old_is_merged_before_it_is_dropped(log, monkeypatch):
    monkeypatch.setattr(index_file, "MOST_STRETCHES", 40)
    monkeypatch.setattr(index_file, "MOST_TALLIES", 20)
    monkeypatch.setattr(score_index, "SLICE", 25)
    stream, index = Stream(log), quiet(log)
    stream.go(1_500)
    found = index.errors_by_time("m", 600.0)
    fresh = errors_by_time(log, "m", 600.0)
    widths = {s["width_s"] for s in found["stretches"]}
    assert len(found["stretches"]) <= 40 < len(fresh["stretches"])
    assert widths > {600.0}
    total = sum(s["rows"] for s in fresh["stretches"])
    assert sum(s["rows"] for s in found["stretches"]) + found["dropped_rows"] == total
    newest = found["stretches"][-3:]
    assert newest == fresh["stretches"][-3:]
    kept = sqlite3.connect(log.path.with_name(FILE_NAME))
    assert kept.execute("SELECT count(*) FROM stretches").fetchone()[0] <= 80
    assert kept.execute("SELECT count(*) FROM tallies").fetchone()[0] <= 20
    kept.close()


MEASURED = """
import sys, tracemalloc
from pathlib import Path
from model_store.log.log import EventLog
from service.operations import index_file, score_index
from tests.learner.test_kept_index import Stream, quiet

index_file.MOST_STRETCHES, index_file.MOST_TALLIES, score_index.SLICE = 60, 20, 50
for events in (1_000, 4_000):
    with EventLog.open(Path(sys.argv[1]) / str(events)) as log:
        Stream(log).go(events)
        index = quiet(log)
        tracemalloc.start()
        index.errors_by_time("m", 86_400.0)
        print(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
"""


def test_memory_does_not_grow_with_the_log(tmp_path):
    # In a process of its own: threads of other tests would be measured too.
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    small, large = map(int, done.stdout.split())
    assert large < 1.5 * small


def test_more_lines_than_are_told_apart_are_one():
    tally = Tally()
    lesson = Lesson(np.zeros((1, 2), np.float32), np.array([1]))
    record = Record("m", 1, "batch", BEGAN, lesson.to_bytes(), b"", None, "first")
    for k in range(MOST_LINES):
        tally.take(replace(record, seq=k + 1, line=f"line {k}"))
    assert tally.take(replace(record, line="one more"))[0] == OTHER_LINES
    assert tally.take(replace(record, line="line 7"))[0] == "line 7"
    assert Tally.from_json(tally.to_json()) == tally


def test_lessons_and_rows_between_two_events_by_line(log):
    stream, index = Stream(log), quiet(log)
    stream.go(300)
    (found,) = index.taught("m", [(40, 173)])
    tally: dict[str, list[int]] = {}
    for record in log.events("m", 40, 173):
        taken = Tally().take(record)
        if taken is not None:
            line, _, _, one = taken
            counts = tally.setdefault(line, [0, 0])
            counts[0] += 1
            counts[1] += one.rows
    assert {line: [t.lessons, t.learned] for line, t in found.items()} == tally
    before = index.read
    assert index.taught("m", [(40, 173)]) == [found]
    assert index.read == before
    assert log.prune("m", 51, 1e12) == 50
    assert index.taught("m", [(40, 173), (50, 51), (300, 301)])[::2] == [None, None]


def test_while_the_log_cannot_be_written_nothing_is(log):
    Stream(log).go(50)
    full = [True]
    index = ScoreIndex(log, lambda: True, lambda: full[0])
    same(index, log)
    assert index.taught("m", [(1, 50)]) == [None]
    assert not log.path.with_name(FILE_NAME).exists()
    full[0] = False
    same(index, log)
    assert index.read == 50


def test_a_damaged_index_stops_no_learner(tmp_path):
    with serving(press(tmp_path)) as running:
        teach(running, 0, 30)
        first = running.client.ask("press", "events", every_s=600)
        path = tmp_path / "log" / FILE_NAME
        assert path.exists()
        path.write_bytes(b"no index" * 3000)
        teach(running, 30, 10)
        again = running.client.ask("press", "events", every_s=600)
        rows = [sum(s["rows"] for s in found["stretches"]) for found in (first, again)]
        assert rows == [30, 40]
    path.write_bytes(b"no index" * 3000)
    with serving(press(tmp_path)) as running:
        assert running.client.model("press").seq == 40
        found = running.client.ask("press", "events", every_s=600)["stretches"]
        assert sum(s["rows"] for s in found) == 40
        assert running.client.ask("press", "verify")["problems"] == []
