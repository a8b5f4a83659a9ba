"""The event log after somebody or something has altered its files: sound, or refused."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from model_store.errors import (
    FormatUnknown,
    LogDamaged,
    LogEndsEarly,
    LogIncomplete,
    StorageError,
)
from model_store.log.log import Batch, EventLog, Record

DB, WAL, HIGH, DIRTY = "events.sqlite3", "events.sqlite3-wal", "events.high", "events.dirty"


def event(seq: int, model: str = "press") -> Record:
    payload = random.Random(f"{model}{seq}").randbytes(20 + 40 * (seq % 7))
    return Record(model, seq, "labels", 1e9 + seq, payload, b"reply", f"b{seq}", snapshot=seq)


def batch(number: int) -> Batch:
    rows = b"%d" % number * 30
    digest = hashlib.sha256(rows).digest()
    return Batch("press", f"b{number}", 1e9 + number, number, digest, rows, b"", b"reply")


def crash(log: EventLog, into: Path) -> None:
    """The files as a killed process leaves them."""
    into.mkdir(parents=True)
    for name in (DB, WAL, HIGH, DIRTY):
        if (log.path.parent / name).exists():
            shutil.copy(log.path.parent / name, into / name)


def contents(directory: Path) -> dict[str, bytes]:
    """All that a refused open must leave as it was (SQLite's shared memory is scratch)."""
    ignored = {"events.lock", "events.sqlite3-shm"}
    return {p.name: p.read_bytes() for p in directory.iterdir() if p.name not in ignored}


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 events of two models and 20 batches, the first half in the file, the rest in the -wal."""
    root = tmp_path_factory.mktemp("crashed")
    for first in (1, 21):
        log = EventLog.open(root / "log")
        for seq in range(first, first + 20, 2):
            events = [event(seq), event(seq + 1), event(seq, "mill"), event(seq + 1, "mill")]
            log.commit(events, [batch(seq)])
        if first == 1:
            log.close()
    crash(log, root / "crashed")
    log.close()
    return root / "crashed"


@pytest.fixture
def files(crashed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(crashed, tmp_path / "log"))


def table(directory: Path, statement: str) -> None:
    """Alter the database behind the log's back, through SQLite."""
    connection = sqlite3.connect(directory / DB)
    connection.execute(statement)
    connection.commit()
    connection.close()


def lie_at(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    kind = rng.randrange(4)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes(min(512, len(data) - at)) + data[at + 512 :]
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def examine(directory: Path, acknowledged: int | None) -> str:
    """Open a log that may be damaged; whatever it gives must be what was written."""
    before = contents(directory)
    try:
        log = EventLog.open(directory)
    except StorageError as error:
        refusal = error
    else:
        return replay(log, acknowledged)
    assert contents(directory) == before
    assert DB in str(refusal)
    assert "--accept-loss" in str(refusal) or isinstance(refusal, FormatUnknown)
    return "refused"


def replay(log: EventLog, acknowledged: int | None) -> str:
    try:
        for model in ("press", "mill"):
            last = log.last_seq(model)
            assert acknowledged is None or last == acknowledged
            assert list(log.events(model)) == [event(seq, model) for seq in range(1, last + 1)]
        altered = 0
        for number in range(1, 40, 2):
            try:
                assert log.batch("press", f"b{number}") in (batch(number), None)
            except LogDamaged:
                altered += 1
        return "altered" if altered else "sound"
    finally:
        with contextlib.suppress(LogDamaged):  # the fault was in what only a writer reads
            log.close()


@pytest.mark.parametrize(
    ("name", "high", "expected"),
    [
        (DB, True, {"refused", "sound"}),
        (DB, False, {"refused", "sound"}),
        (WAL, True, {"refused"}),
        (WAL, False, {"sound"}),  # SQLite takes what follows the fault for a torn tail
    ],
)
def test_truncation_and_flipped_bits_never_give_wrong_events(
    crashed: Path, tmp_path: Path, name: str, high: bool, expected: set[str]
) -> None:
    rng = random.Random(f"{name}{high}")
    outcomes = set()
    for trial in range(60):
        files = Path(shutil.copytree(crashed, tmp_path / str(trial)))
        if not high:
            (files / HIGH).unlink()
        (files / name).write_bytes(lie_at((files / name).read_bytes(), rng))
        outcomes.add(examine(files, 40 if high else None))
    assert expected <= outcomes


def test_flipped_bits_in_the_side_files_lose_no_event(crashed: Path, tmp_path: Path) -> None:
    rng = random.Random(1)
    for trial in range(60):
        files = Path(shutil.copytree(crashed, tmp_path / str(trial)))
        name = (HIGH, DIRTY)[trial % 2]
        (files / name).write_bytes(lie_at((files / name).read_bytes(), rng))
        assert examine(files, 40) == "sound"


def test_a_log_untouched_after_a_kill_is_sound(files: Path) -> None:
    assert examine(files, 40) == "sound"
    assert not (files / DIRTY).exists()


def test_a_missing_wal_after_an_unclean_stop_is_refused(files: Path) -> None:
    (files / WAL).unlink()
    before = contents(files)
    for _ in range(2):
        with pytest.raises(LogIncomplete, match=r"events\.sqlite3-wal.*missing.*--accept-loss"):
            EventLog.open(files)
        assert contents(files) == before


def test_a_missing_wal_is_no_fault_when_nothing_was_ever_committed(tmp_path: Path) -> None:
    with EventLog.open(tmp_path / "log") as log:
        crash(log, tmp_path / "crashed")
    (tmp_path / "crashed" / WAL).unlink()
    EventLog.open(tmp_path / "crashed").close()


def test_a_wal_of_an_earlier_run_is_missed_before_this_run_has_committed(
    files: Path, tmp_path: Path
) -> None:
    with EventLog.open(files) as log:
        crash(log, tmp_path / "again")
    (tmp_path / "again" / WAL).unlink()
    with pytest.raises(LogIncomplete):
        EventLog.open(tmp_path / "again")


def test_a_missing_file_is_not_quietly_replaced_by_an_empty_one(files: Path) -> None:
    (files / DB).unlink()
    with pytest.raises(LogDamaged, match="empty or missing"):
        EventLog.open(files)
    (files / WAL).unlink()
    (files / DIRTY).unlink()
    with pytest.raises(LogEndsEarly, match="up to seq 40"):
        EventLog.open(files)
    assert not (files / DB).exists()
    with EventLog.open(files, accept_loss=True) as log:
        assert [(g.from_seq, g.to_seq) for g in log.gaps("press")] == [(1, 40)]


def test_a_broken_chain_is_named_by_file_model_and_seq(files: Path) -> None:
    table(files, "UPDATE events SET reply=x'00' WHERE model='mill' AND seq=30")
    (files / DIRTY).unlink()
    with pytest.raises(LogDamaged, match=r"events\.sqlite3.*model 'mill', seq 30.*--accept-loss"):
        EventLog.open(files)
    with EventLog.open(files, newest_snapshots={"mill": 30}) as log:
        replay = log.events("mill")
        assert [next(replay).seq for _ in range(29)] == list(range(1, 30))
        with pytest.raises(LogDamaged, match="model 'mill', seq 30"):
            next(replay)
        with pytest.raises(LogDamaged, match="model 'mill', seq 30"):
            log.verify("mill")
        assert log.verify("press") == 40


ALTERATIONS = [
    "DELETE FROM events WHERE model='press' AND seq=17",
    "DELETE FROM events WHERE model='press' AND seq=40",
    "DELETE FROM events WHERE model='press'",
    "DELETE FROM chains WHERE model='press'",
    "UPDATE chains SET last=39 WHERE model='press'",
    "UPDATE events SET seq=41 WHERE model='press' AND seq=40",
    "UPDATE events SET model='lathe' WHERE model='press' AND seq=40",
    "DROP INDEX events_in_order",
]


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_missing_and_moved_rows_are_noticed(files: Path, alteration: str) -> None:
    table(files, alteration)
    (files / DIRTY).unlink()
    (files / HIGH).unlink()
    with pytest.raises(LogDamaged, match="--accept-loss"):
        EventLog.open(files)


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_accepting_loss_goes_on_above_the_highest_seq_whatever_was_altered(
    files: Path, alteration: str
) -> None:
    table(files, alteration)
    (files / DIRTY).unlink()
    with EventLog.open(files, accept_loss=True) as log:
        assert log.last_seq("press") >= 40
        assert log.last_seq("mill") == 40
        kept = list(log.events("press"))
        assert kept == [event(seq) for seq in range(1, len(kept) + 1)]
        assert sum(g.to_seq - g.from_seq + 1 for g in log.gaps("press")) + len(kept) == (
            log.last_seq("press")
        )
        assert log.verify("mill") == 40
        log.commit([event(log.last_seq("press") + 1)], [batch(1)])
    with EventLog.open(files) as log:
        assert log.verify("press") == len(kept) + 1


def test_an_event_from_another_log_is_noticed_though_it_fits_the_event_before(
    files: Path, tmp_path: Path
) -> None:
    with EventLog.open(tmp_path / "other") as log:
        log.commit([event(seq) for seq in range(1, 40)])
        log.commit([replace(event(40), reply=b"another reply")])
    connection = sqlite3.connect(files / DB)
    connection.execute("ATTACH ? AS other", (str(tmp_path / "other" / DB),))
    connection.execute("DELETE FROM events WHERE model='press' AND seq=40")
    connection.execute("INSERT INTO events SELECT * FROM other.events WHERE seq=40")
    connection.commit()
    connection.close()
    (files / DIRTY).unlink()
    with pytest.raises(LogDamaged, match="model 'press', seq 40"):
        EventLog.open(files)


def test_accepting_loss_keeps_the_damaged_file_and_says_what_is_missing(files: Path) -> None:
    table(files, "UPDATE events SET payload=x'00' WHERE model='press' AND seq=35")
    (files / DIRTY).unlink()
    damaged = (files / DB).read_bytes()
    with EventLog.open(files, accept_loss=True, newest_snapshots={"press": 20}) as log:
        (gap,) = log.gaps("press")
        assert (gap.from_seq, gap.to_seq) == (35, 40)
        assert "seq 35" in gap.why
        assert log.last_seq("press") == 40
        assert [e.seq for e in log.events("press", 33)] == [34]
        assert log.gaps("mill") == []
        assert all(log.batch("press", f"b{n}") == batch(n) for n in range(1, 40, 2))
        log.commit([event(41)])
        assert [e.seq for e in log.events("press", 33)] == [34, 41]
        assert [e.seq for e in log.events("press", 37)] == [41]
    (aside,) = files.glob("events.dropped-*.sqlite3")
    assert aside.read_bytes() == damaged
    with EventLog.open(files, newest_snapshots={"press": 40}) as log:
        assert log.verify("press") == 35
        assert log.prune("press", 99, 2e9) == 35
        assert log.verify("press") == 0
        log.commit([event(42)])
        assert log.verify("press") == 1


def test_accepting_loss_keeps_events_after_the_newest_snapshot(files: Path) -> None:
    table(files, "UPDATE events SET payload=x'00' WHERE model='press' AND seq IN (10, 38)")
    (files / DIRTY).unlink()
    with EventLog.open(files, accept_loss=True, newest_snapshots={"press": 30}) as log:
        assert [(g.from_seq, g.to_seq) for g in log.gaps("press")] == [(10, 30), (38, 40)]
        assert list(log.events("press", 30)) == [event(seq) for seq in range(31, 38)]
        assert log.last_seq("press") == 40


def test_accepting_a_missing_wal_goes_on_above_the_mark(files: Path) -> None:
    (files / WAL).unlink()
    with EventLog.open(files, accept_loss=True) as log:
        for model in ("press", "mill"):
            assert list(log.events(model)) == [event(seq, model) for seq in range(1, 21)]
            assert [(g.from_seq, g.to_seq) for g in log.gaps(model)] == [(21, 40)]
            log.commit([event(41, model)])
    examined = EventLog.open(files)
    assert examined.verify("press") == 21
    examined.close()


def test_accepting_an_early_end_goes_on_above_the_snapshot(tmp_path: Path) -> None:
    with EventLog.open(tmp_path / "log") as log:
        log.commit([event(1)])
        crash(log, tmp_path / "crashed")
    newest = {"press": 9, "lathe": 4}
    with EventLog.open(tmp_path / "crashed", accept_loss=True, newest_snapshots=newest) as log:
        assert [(g.from_seq, g.to_seq) for g in log.gaps("press")] == [(2, 9)]
        assert [(g.from_seq, g.to_seq) for g in log.gaps("lathe")] == [(1, 4)]
        log.commit([event(10), event(5, "lathe")])
    with EventLog.open(tmp_path / "crashed", newest_snapshots=newest) as log:
        assert [e.seq for e in log.events("press")] == [1, 10]
        assert log.verify("lathe") == 1


def test_accepting_loss_of_a_sound_log_changes_nothing(files: Path) -> None:
    with EventLog.open(files, accept_loss=True, newest_snapshots={"press": 40}) as log:
        assert log.gaps("press") == []
        assert log.verify("press") == 40
    assert list(files.glob("events.dropped-*")) == []


def test_accepting_loss_of_any_damage_gives_a_log_that_works(crashed: Path, tmp_path: Path) -> None:
    rng = random.Random(5)
    for trial in range(60):
        files = Path(shutil.copytree(crashed, tmp_path / str(trial)))
        name = (DB, WAL)[trial % 2]
        data = (files / name).read_bytes()
        for _ in range(3):
            data = lie_at(data, rng) or b"\0"
        if name == DB:  # another format is refused whatever is accepted: see the test of it
            data = data[:60] + (crashed / DB).read_bytes()[60:72] + data[72:]
        (files / name).write_bytes(data)
        newest = {"press": 30}
        with EventLog.open(files, accept_loss=True, newest_snapshots=newest) as log:
            for model in ("press", "mill"):
                assert log.last_seq(model) == 40
                lost = {
                    seq for gap in log.gaps(model) for seq in range(gap.from_seq, gap.to_seq + 1)
                }
                after = newest.get(model, 0)
                assert list(log.events(model, after)) == [
                    event(seq, model) for seq in range(after + 1, 41) if seq not in lost
                ]
                log.commit([event(41, model)])
        with EventLog.open(files, newest_snapshots={"press": 41, "mill": 41}) as log:
            assert log.last_seq("press") == 41


@pytest.mark.parametrize("step", range(1, 5))
def test_a_kill_while_the_salvaged_file_is_exchanged_is_made_good_at_the_next_start(
    files: Path, step: int
) -> None:
    data = (files / DB).read_bytes()
    assert data.count(event(5).payload) == 1
    (files / DB).write_bytes(data.replace(event(5).payload, event(5).payload[::-1]))
    damaged = (files / DB).read_bytes(), (files / WAL).read_bytes()
    code = "import sys; from pathlib import Path; from model_store.log.log import EventLog\n"
    code += "EventLog.open(Path(sys.argv[1]), accept_loss=True)"
    killed = subprocess.run(
        [sys.executable, "-c", code, files],
        env={**os.environ, "APICAL_FAILPOINT": f"log.salvage:{step}"},
    )
    assert killed.returncode == -signal.SIGKILL
    # Before the first step nothing was exchanged, so the loss has to be accepted once more.
    with EventLog.open(files, accept_loss=step == 1) as log:
        assert log.last_seq("press") == log.last_seq("mill") == 40
        assert [(g.from_seq, g.to_seq) for g in log.gaps("press")] == [(5, 40)]
        log.commit([event(41)])
    (aside,) = files.glob("events.dropped-*.sqlite3")
    assert (aside.read_bytes(), aside.with_name(aside.name + "-wal").read_bytes()) == damaged
    EventLog.open(files).close()
