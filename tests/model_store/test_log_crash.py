"""The event log when its process dies: what was acknowledged is there, what was not may be."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_store.errors import LogPruned
from model_store.log.log import Batch, EventLog, Record

NAMES = ("events.sqlite3", "events.sqlite3-wal", "events.high", "events.dirty")
MODELS = ("press", "mill")

WRITER = """
import sys
from pathlib import Path
from model_store.log.log import Batch, Record, EventLog
log = EventLog.open(Path(sys.argv[1]))
seq = log.last_seq("press")
for _ in range(int(sys.argv[2])):
    seq += 1
    event = Record("press", seq, "labels", 1e9, b"rows" * 50, b"reply %d" % seq)
    log.commit([event], [Batch("press", f"b{seq}", 1e9, seq, b"", b"", b"", b"%d" % seq)])
    print("acknowledged", seq, flush=True)
log.close()
"""


def write(directory: Path, count: int, failpoint: str = "") -> tuple[int, list[int]]:
    """Exit status and acknowledged events of a process that writes, and may die."""
    environment = {**os.environ, "APICAL_FAILPOINT": failpoint}
    command = [sys.executable, "-c", WRITER, str(directory), str(count)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.returncode, [int(line.split()[1]) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("failpoint", "kept"), [("log.before_commit:5", 4), ("log.after_commit:5", 5)]
)
def test_a_kill_around_the_commit_keeps_all_or_nothing_of_it(
    tmp_path: Path, failpoint: str, kept: int
) -> None:
    status, acknowledged = write(tmp_path, 9, failpoint)
    assert (status, acknowledged) == (-signal.SIGKILL, [1, 2, 3, 4])
    with EventLog.open(tmp_path) as log:
        assert log.verify("press") == log.last_seq("press") == kept
        for seq in range(1, 10):
            assert (log.batch("press", f"b{seq}") is not None) == (seq <= kept)
    assert write(tmp_path, 2) == (0, [kept + 1, kept + 2])


def test_nothing_acknowledged_is_lost_by_a_kill_at_any_moment(tmp_path: Path) -> None:
    acknowledged = 0
    for lines in (1, 3, 40, 200):
        command = [sys.executable, "-c", WRITER, str(tmp_path), "100000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(lines):
                acknowledged = int(writer.stdout.readline().split()[1])
            writer.kill()
            for line in writer.stdout:
                if found := re.fullmatch(r"acknowledged (\d+)\n", line):
                    acknowledged = int(found[1])
    with EventLog.open(tmp_path, newest_snapshots={"press": acknowledged}) as log:
        assert log.verify("press") in (acknowledged, acknowledged + 1)
        assert [e.reply for e in log.events("press", until=acknowledged)] == [
            b"reply %d" % seq for seq in range(1, acknowledged + 1)
        ]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_each_commit_is_written_then_synced_once_then_acknowledged(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-e", "trace=pwrite64,write,fsync,fdatasync", "-o", str(trace)]
    command += [sys.executable, "-c", WRITER, str(tmp_path / "log"), "6"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"strace cannot trace here: {done.stderr[:200]}")
    steps = []
    for line in trace.read_text().splitlines():
        if "events.sqlite3-wal>" in line:
            steps.append("sync" if "sync(" in line else "write")
        elif "acknowledged" in line:
            steps.append("acknowledge")
        elif "events.sqlite3>" in line and "sync(" in line:
            steps.append("sync of the file")
    transactions = " ".join(steps).split("acknowledge")[1:-1]  # the first creates the -wal as well
    assert len(transactions) == 5
    for transaction in transactions:
        assert re.fullmatch(r" (write )+sync ", transaction)


@dataclass
class Written:
    """What a log must hold."""

    events: dict[str, list[Record]] = field(default_factory=lambda: {m: [] for m in MODELS})
    pruned: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MODELS, 0))
    batches: dict[tuple[str, str], Batch] = field(default_factory=dict)


COMMITS = st.tuples(
    st.just("commit"),
    st.lists(st.tuples(st.sampled_from(MODELS), st.binary(max_size=300)), max_size=5),
    st.lists(st.tuples(st.sampled_from(MODELS), st.sampled_from("abcdef")), max_size=3),
)
STEPS = st.lists(
    COMMITS
    | st.tuples(st.sampled_from(["crash", "restart", "backup"]))
    | st.tuples(st.just("prune"), st.sampled_from(MODELS), st.integers(0, 30), st.integers(0, 30)),
    max_size=25,
)


def agree(log: EventLog, written: Written) -> None:
    for model in MODELS:
        pruned, events = written.pruned[model], written.events[model]
        assert log.pruned(model) == pruned
        assert log.last_seq(model) == len(events)
        assert list(log.events(model, after=pruned)) == events[pruned:]
        assert log.verify(model) == log.count(model) == len(events) - pruned
        assert log.snapshots_named(model) == {e.snapshot for e in events[pruned:]} - {None}
        if pruned:
            with pytest.raises(LogPruned):
                list(log.events(model, after=pruned - 1))
        for batch_id in "abcdef":
            assert log.batch(model, batch_id) == written.batches.get((model, batch_id))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_any_sequence_of_commits_crashes_prunes_and_backups_keeps_all_that_was_committed(
    steps: list[tuple[object, ...]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root, clock, written = Path(name), 0, Written()
        log = EventLog.open(root / "0")
        for number, (kind, *arguments) in enumerate(steps, 1):
            if kind == "commit":
                commit(log, written, clock, *arguments)  # type: ignore[arg-type]
                clock += 1
            elif kind == "prune":
                prune(log, written, *arguments)  # type: ignore[arg-type]
            else:
                directory = log.path.parent
                if kind == "crash":
                    directory = root / str(number)
                    directory.mkdir()
                    for file in NAMES:
                        if (log.path.parent / file).exists():
                            shutil.copy(log.path.parent / file, directory / file)
                elif kind == "backup":
                    directory = root / str(number)
                    directory.mkdir()
                    log.backup(directory / NAMES[0])
                log.close()
                newest = {model: len(events) for model, events in written.events.items()}
                log = EventLog.open(directory, newest_snapshots=newest)
                agree(log, written)
        agree(log, written)
        log.close()


def commit(
    log: EventLog,
    written: Written,
    clock: int,
    payloads: list[tuple[str, bytes]],
    keys: list[tuple[str, str]],
) -> None:
    events = []
    for model, payload in payloads:
        seq = len(written.events[model]) + 1
        snapshot = seq if seq % 4 == 0 else None
        event = Record(model, seq, "labels", clock, payload, payload[::-1], snapshot=snapshot)
        written.events[model].append(event)
        events.append(event)
    batches = [Batch(model, key, clock, 1, b"d", b"r", b"%d" % clock, b"") for model, key in keys]
    written.batches |= {(batch.model, batch.batch_id): batch for batch in batches}
    log.commit(events, batches)


def prune(log: EventLog, written: Written, model: str, before_seq: int, before: int) -> None:
    pruned = written.pruned[model]
    doomed = 0
    for event in written.events[model][pruned:]:
        if event.seq >= before_seq or event.received_at >= before:
            break
        doomed += 1
    assert log.prune(model, before_seq, before) == doomed
    written.pruned[model] += doomed
    for key, batch in list(written.batches.items()):
        if key[0] == model and batch.received_at < before:
            del written.batches[key]
