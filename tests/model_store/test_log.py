"""The event log while nothing goes wrong with its files: what goes in comes out, in order, once."""

from __future__ import annotations

import hashlib
import math
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from model_store.errors import (
    FormatUnknown,
    LogDamaged,
    LogEndsEarly,
    LogLocked,
    LogPruned,
    LogUnavailable,
)
from model_store.log.log import Batch, EventLog, Record


def event(seq: int, model: str = "press", **fields: object) -> Record:
    return replace(
        Record(model, seq, "labels", 1e9 + seq, b"rows %d" % seq, b"reply %d" % seq),
        **fields,  # type: ignore[arg-type]
    )


def batch(batch_id: str, model: str = "press", **fields: object) -> Batch:
    rows = b"rows of " + batch_id.encode()
    return replace(
        Batch(model, batch_id, 1e9, 3, hashlib.sha256(rows).digest(), rows, b"", b"reply"),
        **fields,  # type: ignore[arg-type]
    )


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with EventLog.open(tmp_path / "log") as log:
        yield log


def test_events_come_back_whole_and_in_order(log: EventLog) -> None:
    written = [
        event(1),
        event(2, batch_id="b", line="l1", observed_at=-0.0, actor="ann", reason="dér\0if"),
        event(3, kind="rollback", payload=b"", reply=b"\0", snapshot=0, received_at=7),
    ]
    log.commit(written[:1])
    log.commit(written[1:])
    assert list(log.events("press")) == written
    assert log.last_seq("press") == 3
    assert log.count("press") == 3


def test_bounds_are_after_exclusive_and_until_inclusive(log: EventLog) -> None:
    log.commit([event(seq) for seq in range(1, 201)])
    assert [e.seq for e in log.events("press", after=70, until=140)] == list(range(71, 141))
    assert log.count("press", after=70, until=140) == 70
    assert [e.seq for e in log.events("press", after=199, until=999)] == [200]
    assert list(log.events("press", after=200)) == list(log.events("press", after=500)) == []


def test_models_have_orders_of_their_own(log: EventLog) -> None:
    log.commit([event(1), event(1, "mill"), event(2)])
    log.commit([event(2, "mill")])
    assert [e.seq for e in log.events("press")] == [e.seq for e in log.events("mill")] == [1, 2]
    assert log.head("press") != log.head("mill")
    assert log.last_seq("lathe") == 0
    assert log.head("lathe") == bytes(32)


@pytest.mark.parametrize("seqs", [[2], [0], [1, 3], [1, 1]])
def test_a_seq_that_is_not_the_next_one_is_refused_and_nothing_is_written(
    log: EventLog, seqs: list[int]
) -> None:
    with pytest.raises(ValueError, match="expected seq"):
        log.commit([event(seq) for seq in seqs], [batch("b")])
    assert (log.last_seq("press"), log.count("press"), log.batch("press", "b")) == (0, 0, None)


@pytest.mark.parametrize("time", [math.nan, math.inf])
def test_a_time_that_sqlite_cannot_keep_is_refused(log: EventLog, time: float) -> None:
    with pytest.raises(ValueError, match="Unix seconds"):
        log.commit([event(1, observed_at=time)])


def test_a_failed_call_leaves_no_transaction_behind(log: EventLog) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        log.commit([event(1)], [batch("b", seq=None)])
    with pytest.raises(OverflowError):
        log.commit([event(1)], [batch("b", seq=1 << 63)])
    log.commit([event(1)])
    assert log.count("press") == 1


def test_a_clean_stop_and_start_keeps_everything(tmp_path: Path) -> None:
    with EventLog.open(tmp_path) as log:
        log.commit([event(1), event(2)], [batch("b")])
        head = log.head("press")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "events.high",
        "events.lock",
        "events.sqlite3",
    ]
    with EventLog.open(tmp_path, newest_snapshots={"press": 2}) as log:
        assert log.head("press") == head
        assert list(log.events("press")) == [event(1), event(2)]
        assert log.batch("press", "b") == batch("b")
        log.commit([event(3)])
        assert log.verify("press") == 3
        log.close()
        log.close()
        with pytest.raises(ValueError, match="closed"):
            log.commit([event(4)])
        with pytest.raises(ValueError, match="closed"):
            log.count("press")


def test_the_chain_depends_on_every_field_and_on_the_event_before(tmp_path: Path) -> None:
    changes: list[dict[str, object]] = [
        {}, {"kind": "freeze"}, {"received_at": 5.0}, {"payload": b"x"}, {"reply": b"x"},
        {"batch_id": "x"}, {"line": "x"}, {"observed_at": 1.0}, {"actor": "x"}, {"reason": "x"},
        {"snapshot": 1}, {"payload": b"xby", "reply": b"z"}, {"payload": b"x", "reply": b"ybz"},
    ]  # fmt: skip
    heads = set()
    for number, change in enumerate(changes):
        with EventLog.open(tmp_path / str(number)) as log:
            log.commit([event(1, **change)])
            first = log.head("press")
            log.commit([event(2)])
            heads |= {first, log.head("press")}
    assert len(heads) == 2 * len(changes)


def test_a_batch_is_replaced_when_its_labels_arrive(log: EventLog) -> None:
    log.commit([], [batch("b"), batch("b", "mill")])
    labelled = batch("b", labels=b"ok,nok", line="l1", observed_at=4.5)
    log.commit([event(1, batch_id="b")], [labelled])
    assert log.batch("press", "b") == labelled
    assert log.batch("mill", "b") == batch("b", "mill")
    assert log.batch("press", "other") is None


def test_readers_in_other_threads_see_each_commit_whole(log: EventLog) -> None:
    log.commit([event(1)], [batch("b", labels=b"1")])
    done, faults = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            seqs = [e.seq for e in log.events("press")]
            found = log.batch("press", "b")
            if len(seqs) % 3 != 1 or found is None or int(found.labels) < len(seqs):
                faults.append((seqs, found))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for first in range(2, 152, 3):
        group = [event(seq) for seq in range(first, first + 3)]
        log.commit(group, [batch("b", labels=b"%d" % (first + 2))])
    done.set()
    for reader in readers:
        reader.join()
    assert faults == []
    assert log.count("press") == 151


def test_only_one_process_may_hold_the_log(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from model_store.log.log import EventLog\n"
    code += "log = EventLog.open(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(LogLocked, match=rf"pid {holder.pid}\b"):
            EventLog.open(tmp_path)
        holder.communicate()
    EventLog.open(tmp_path).close()


def test_pruning_needs_both_bounds_and_leaves_a_chain_that_verifies(tmp_path: Path) -> None:
    with EventLog.open(tmp_path) as log:
        log.commit([event(seq) for seq in range(1, 1301)] + [event(1, "mill")])
        log.commit([], [batch("old", received_at=1e9), batch("new", received_at=2e9)])
        assert log.prune("press", before_seq=1, received_before=2e9) == 0
        assert log.prune("press", before_seq=9999, received_before=1.0) == 0
        log.commit([], [batch("old", received_at=1e9)])
        assert log.prune("press", before_seq=1201, received_before=1e9 + 1101) == 1100
        assert log.pruned("press") == 1100
        assert log.count("press") == 200
        assert log.batch("press", "old") is None
        assert log.batch("press", "new") is not None
        assert log.verify("press") == 200
        assert [e.seq for e in log.events("press", after=1100)] == list(range(1101, 1301))
        with pytest.raises(LogPruned, match="up to 1100"):
            list(log.events("press", after=1099))
    with EventLog.open(tmp_path, newest_snapshots={"press": 1200}) as log:
        assert log.prune("press", 1300, 2e9) == 199
        assert log.prune("press", 1301, 2e9) == 1
        log.commit([event(1301)])
        assert log.count("mill") == 1
    with EventLog.open(tmp_path) as log:
        assert [e.seq for e in log.events("press", after=log.pruned("press"))] == [1301]


def test_pruning_keeps_what_follows_an_event_that_is_kept(log: EventLog) -> None:
    log.commit([event(1), event(2, received_at=9e9), event(3)])
    assert log.prune("press", 4, 5e9) == 1
    assert [e.seq for e in log.events("press", after=1)] == [2, 3]


def test_a_replay_is_told_when_events_are_pruned_under_it(log: EventLog) -> None:
    log.commit([event(seq) for seq in range(1, 301)])
    replay = log.events("press")
    next(replay)
    log.prune("press", 200, 2e9)
    with pytest.raises(LogPruned):
        list(replay)


def test_snapshots_named_are_those_of_retained_events(log: EventLog) -> None:
    log.commit([event(1, snapshot=7), event(2, snapshot=9), event(3), event(4, snapshot=9)])
    log.commit([event(1, "mill", snapshot=1)])
    assert log.snapshots_named("press") == {7, 9}
    log.prune("press", 2, 2e9)
    assert log.snapshots_named("press") == {9}


def test_an_export_holds_every_event_and_its_checksum(log: EventLog, tmp_path: Path) -> None:
    log.commit([event(seq, line="l1", snapshot=seq) for seq in range(1, 1001)] + [event(1001)])
    path = tmp_path / "events.parquet"
    assert log.export("press", path, after=100) == 901
    rows = pq.read_table(path).to_pylist()
    assert rows[-1].pop("checksum") == log.head("press")
    assert Record(**rows[-1]) == event(1001)
    assert [row["seq"] for row in rows] == list(range(101, 1002))
    assert log.export("press", path, after=1001) == 0
    assert pq.read_table(path).num_rows == 0
    assert [p.name for p in tmp_path.glob("*.partial")] == []


def test_a_backup_taken_during_commits_is_a_log_of_its_own(tmp_path: Path) -> None:
    copies = [tmp_path / f"copy{number}" / "events.sqlite3" for number in range(4)]
    with EventLog.open(tmp_path / "log") as log:
        log.commit([event(1)], [batch("b")])

        def back_up() -> None:
            for copy in copies:
                copy.parent.mkdir()
                log.backup(copy)

        thread = threading.Thread(target=back_up)
        thread.start()
        while thread.is_alive():
            log.commit([event(log.last_seq("press") + 1, payload=bytes(9000))])
        thread.join()
        written = list(log.events("press"))
        log.backup(copies[-1])
    for copy in copies:
        assert [p.name for p in copy.parent.iterdir()] == ["events.sqlite3"]
        with EventLog.open(copy.parent) as restored:
            count = restored.verify("press")
            assert list(restored.events("press")) == written[:count]
            assert restored.batch("press", "b") == batch("b")
    assert count == len(written)


def test_size_counts_the_write_ahead_log(log: EventLog) -> None:
    before = log.size()
    log.commit([event(1, payload=bytes(500_000))])
    assert log.size() >= before + 500_000


def test_a_log_that_ends_before_a_snapshot_is_refused(tmp_path: Path) -> None:
    with EventLog.open(tmp_path) as log:
        log.commit([event(1), event(2)])
    with pytest.raises(
        LogEndsEarly, match=r"events\.sqlite3.*up to seq 3.*last at seq 2.*--accept"
    ):
        EventLog.open(tmp_path, newest_snapshots={"press": 3})
    EventLog.open(tmp_path, newest_snapshots={"press": 2}).close()


def test_a_newer_or_foreign_format_is_refused_even_with_accept_loss(tmp_path: Path) -> None:
    EventLog.open(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "events.sqlite3")
    connection.execute("PRAGMA user_version=2")
    connection.close()
    for accept_loss in (False, True):
        with pytest.raises(
            FormatUnknown, match=r"expected an event log of format 1.*found format 2"
        ):
            EventLog.open(tmp_path, accept_loss=accept_loss)


def test_a_batch_that_was_altered_is_noticed(tmp_path: Path) -> None:
    with EventLog.open(tmp_path) as log:
        log.commit([event(1)], [batch("b")])
    connection = sqlite3.connect(tmp_path / "events.sqlite3")
    connection.execute("UPDATE batches SET labels=x'01'")
    connection.commit()
    connection.close()
    with EventLog.open(tmp_path) as log:
        with pytest.raises(LogDamaged, match="batch 'b'"):
            log.batch("press", "b")
        with pytest.raises(LogDamaged, match="batch 'b'"):
            log.verify("press")


def test_a_full_disk_refuses_commits_and_recovers_by_itself(log: EventLog) -> None:
    log.commit([event(1)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    try:
        log.commit([event(2)])
        for _ in range(3):
            with pytest.raises(LogUnavailable) as caught:
                log.commit([event(3, payload=bytes(600_000))], [batch("b")])
            assert isinstance(caught.value.__cause__, sqlite3.Error)
        assert list(log.events("press")) == [event(1), event(2)]
        assert log.batch("press", "b") is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.commit([event(3, payload=bytes(600_000))], [batch("b")])
    assert log.verify("press") == 3


def test_checkpoints_keep_the_write_ahead_log_bounded(log: EventLog) -> None:
    for seq in range(1, 61):
        log.commit([event(seq, payload=bytes(500_000))])
    wal = log.path.with_name(log.path.name + "-wal")
    assert wal.stat().st_size < 8 << 20
    assert log.count("press") == 60


def test_a_probe_writes_and_syncs_and_changes_nothing_that_is_read(log: EventLog) -> None:
    log.probe()
    log.commit([event(1)], [batch("b")])
    head, size = log.head("press"), log.size()
    log.probe()
    assert log.size() > size
    assert (log.head("press"), log.verify("press")) == (head, 1)


def test_a_probe_fails_while_the_disk_is_full_and_no_longer(log: EventLog) -> None:
    log.commit([event(1)])
    full = log.path.with_name(log.path.name + "-wal").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (full, hard))
    try:
        for _ in range(2):
            with pytest.raises(LogUnavailable):
                log.probe()
            with pytest.raises(LogUnavailable):
                log.commit([event(2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.probe()
    log.commit([event(2)])
    assert log.verify("press") == 2


def test_many_probes_do_not_fill_the_disk(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_store.log.log.CHECKPOINT_BYTES", 10 * 4096)
    wal = log.path.with_name(log.path.name + "-wal")
    for _ in range(60):
        log.probe()
    assert wal.stat().st_size < 20 * 4200
