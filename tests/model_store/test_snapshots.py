from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_store.backends.backend import Backend
from model_store.backends.local import LocalBackend
from model_store.errors import (
    AboveLimit,
    ClaimLost,
    Damaged,
    FormatUnknown,
    KeyMissing,
    SnapshotDamaged,
    SnapshotExists,
    SnapshotMissing,
    StoreLocked,
    StoreReadOnly,
)
from model_store.snapshots.pointed import aliased
from model_store.snapshots.store import SnapshotStore
from model_store.snapshots.verification import verify

FILES = {"model.onnx": b"graph" * 3, "state.safetensors": bytes(range(20))}
Overwrite = Callable[[str, bytes], None]


def folder(version: int) -> str:
    return f"models/m/snapshots/{version:08d}"


class Fickle(dict[str, int]):
    """Says something else each time it is asked, as a value does that another thread changes."""

    def items(self) -> Any:
        self["asked"] += 1
        return super().items()


def test_a_manifest_that_changes_while_it_is_written_down_is_no_snapshot(location: str) -> None:
    with contextlib.closing(SnapshotStore.open(location, write=True)) as store:
        with pytest.raises(Damaged, match="expected the digest"):
            store.publish("m", 1, FILES, {"guard": Fickle(asked=0)})
        assert store.versions("m") == []
        assert store.publish("m", 1, FILES, {"guard": {"asked": 0}})["version"] == 1


def test_a_published_snapshot_is_read_back(location: str) -> None:
    store = SnapshotStore.open(location, write=True)
    stored = store.publish("m", 1, FILES, {"seq": 12, "parent": None, "score": 0.1})
    assert (stored["seq"], stored["parent"], stored["score"]) == (12, None, 0.1)
    assert (stored["version"], stored["format"]) == (1, 1)
    assert stored["files"]["model.onnx"] == {
        "sha256": hashlib.sha256(FILES["model.onnx"]).hexdigest(),
        "size": 15,
    }
    reader = SnapshotStore.open(location)
    assert reader.models() == ["m"]
    assert reader.versions("m") == [1]
    assert reader.manifest("m", 1) == stored
    for name, data in FILES.items():
        assert reader.read("m", 1, name) == data
    assert verify(reader, "m") == []


def test_a_place_without_a_store_reads_as_empty_and_stays_untouched(
    location: str, backend: Backend
) -> None:
    reader = SnapshotStore.open(location)
    assert reader.models() == []
    assert reader.versions("m") == []
    assert reader.alias("m", "champion") is None
    assert backend.list("") == []


def test_what_is_not_there_is_missing(location: str) -> None:
    store = SnapshotStore.open(location, write=True)
    store.publish("m", 1, FILES, {})
    with pytest.raises(SnapshotMissing, match="no snapshot 2"):
        store.manifest("m", 2)
    with pytest.raises(SnapshotMissing):
        store.read("m", 2, "model.onnx")
    with pytest.raises(KeyMissing, match=r"model\.onnx"):
        store.read("m", 1, "../../../format.json")


def test_a_taken_number_is_refused_and_nothing_overwritten(location: str) -> None:
    store = SnapshotStore.open(location, write=True)
    first = store.publish("m", 1, FILES, {"by": "one"})
    with pytest.raises(SnapshotExists):
        store.publish("m", 1, {"model.onnx": b"other"}, {"by": "two"})
    assert store.manifest("m", 1) == first
    assert verify(store, "m") == []


def test_no_number_is_used_twice(location: str) -> None:
    store = SnapshotStore.open(location, write=True)
    assert store.next_version("m") == 1
    for version in (1, 2, 3):
        store.publish("m", version, FILES, {})
    store.delete("m", 3, "old")
    store.quarantine("m", 2, "damaged")
    assert store.versions("m") == [1]
    assert store.next_version("m") == 4
    for version in (2, 3):
        with pytest.raises(SnapshotExists):
            store.publish("m", version, FILES, {})
    assert SnapshotStore.open(location).next_version("m") == 4


def test_threads_that_race_for_a_number_get_one_whole_snapshot(location: str) -> None:
    store = SnapshotStore.open(location, write=True)
    start = threading.Barrier(4)
    won: list[int] = []

    def work(i: int) -> None:
        start.wait()
        try:
            store.publish("m", 1, {"model.onnx": b"%d" % i, "state": b"%d" % i}, {"by": i})
        except SnapshotExists:
            return
        won.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # In a bucket each may have got one file in; then nobody finishes, and nothing is visible.
    assert len(won) == 1 or (not won and location.startswith("s3://"))
    assert store.versions("m") == ([1] if won else [])
    assert verify(store, "m") == []
    if won:
        assert store.manifest("m", 1)["by"] == won[0]
        assert store.read("m", 1, "state") == b"%d" % won[0]


@pytest.mark.parametrize("how", ["flip", "cut", "grow", "empty"])
@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_changed_file_is_refused_and_named(
    location: str, backend: Backend, overwrite: Overwrite, name: str, how: str
) -> None:
    store = SnapshotStore.open(location, write=True)
    store.publish("m", 1, FILES, {})
    data = backend.get(f"{folder(1)}/{name}")
    changed = {
        "flip": data[:5] + bytes([data[5] ^ 1]) + data[6:],
        "cut": data[:-1],
        "grow": data + b" ",
        "empty": b"",
    }[how]
    overwrite(f"{folder(1)}/{name}", changed)
    if name == "manifest.json" and how == "empty" and location.startswith("s3://"):
        # There an empty manifest is how an unfinished publication is voided.
        with pytest.raises(SnapshotMissing):
            store.read("m", 1, "model.onnx")
        return
    with pytest.raises(SnapshotDamaged, match=f"{folder(1)}/{name}: expected .*, found"):
        store.read("m", 1, name if name in FILES else "model.onnx")
    assert [p.path for p in verify(store, "m")] == [f"{folder(1)}/{name}"]
    assert [p.path for p in verify(store, "m")] == [f"{folder(1)}/{name}"]


def test_every_flipped_byte_of_the_store_is_named(tmp_path: Path) -> None:
    store = SnapshotStore.open(tmp_path, write=True)
    store.publish("m", 1, {"model.onnx": b"g"}, {"golden": [0.1, 1e-7], "unit": "°C"})
    store.publish("m", 2, {"model.onnx": b"h"}, {})
    store.delete("m", 2, "old")
    store.mark("m", 1, True)
    store.set_alias("m", "champion", 1, generation=0, seq=1)
    store.audit("m").append("a", "publish", "r", None, 1, 1)
    files = [p for p in (tmp_path / "models").rglob("*") if p.is_file() and p.name[0] != "."]
    assert len(files) == 6
    reader = SnapshotStore.open(tmp_path)
    assert verify(reader, "m") == []
    for path in files:
        good = path.read_bytes()
        for i in range(len(good)):
            path.write_bytes(good[:i] + bytes([good[i] ^ (1 << i % 8)]) + good[i + 1 :])
            named = {problem.path for problem in verify(reader, "m")}
            assert str(path.relative_to(tmp_path)) in named, i
        path.write_bytes(good)
    assert verify(reader, "m") == []


def test_a_missing_or_added_file_is_named(location: str, backend: Backend) -> None:
    store = SnapshotStore.open(location, write=True)
    store.publish("m", 1, FILES, {})
    backend.create(f"{folder(1)}/extra", b"")
    backend.delete(f"{folder(1)}/model.onnx")
    assert [p.path for p in verify(store, "m")] == [
        f"{folder(1)}/model.onnx",
        f"{folder(1)}/extra",
    ]


def test_a_file_above_the_limit_is_not_read(location: str) -> None:
    store = SnapshotStore.open(location, write=True)
    store.publish("m", 1, FILES, {})
    with pytest.raises(AboveLimit, match="at most 14 bytes, found 15"):
        store.read("m", 1, "model.onnx", limit=14)


def test_a_manifest_that_could_not_be_read_again_is_not_written(location: str) -> None:
    store = SnapshotStore.open(location, write=True)
    with pytest.raises(ValueError, match="at most"):
        store.publish("m", 1, FILES, {"huge": "x" * (5 << 20)})
    with pytest.raises(ValueError):
        store.publish("m", 1, FILES, {"score": float("nan")})
    assert store.versions("m") == []


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b", "manifest.json"])
def test_a_file_name_that_is_none_is_refused(location: str, name: str) -> None:
    store = SnapshotStore.open(location, write=True)
    with pytest.raises(ValueError):
        store.publish("m", 1, {name: b""}, {})
    assert store.next_version("m") == 1


def test_a_quarantined_snapshot_is_kept_whole(location: str, backend: Backend) -> None:
    store = SnapshotStore.open(location, write=True)
    store.publish("m", 1, FILES, {})
    store.set_alias("m", "champion", 1, generation=0, seq=1)
    store.quarantine("m", 1, "its digest differs")
    assert store.versions("m") == []
    assert backend.get("models/m/quarantine/00000001/model.onnx") == FILES["model.onnx"]
    assert b"its digest differs" in backend.get("models/m/quarantine/00000001.json")
    assert [p.path for p in verify(store, "m")] == ["models/m/aliases/champion.json"]
    with pytest.raises(SnapshotMissing):
        store.quarantine("m", 1, "again")


def test_a_deletion_is_told_in_the_audit_trail(location: str, backend: Backend) -> None:
    store = SnapshotStore.open(location, write=True)
    for version in (1, 2):
        store.publish("m", version, FILES, {})
    store.delete("m", 1, "older than 7 days", actor="ann", seq=9, audit=store.audit("m"))
    [entry] = store.audit("m").entries()
    assert (entry.actor, entry.verb, entry.seq) == ("ann", "delete", 9)
    assert entry.details == {"version": 1}
    assert backend.list(folder(1)) == []
    assert verify(store, "m") == []


def test_a_mark_is_set_and_cleared(location: str) -> None:
    store = SnapshotStore.open(location, write=True)
    store.publish("m", 1, FILES, {})
    store.mark("m", 1, True)
    store.mark("m", 1, True)
    assert SnapshotStore.open(location).marked("m") == [1]
    store.mark("m", 1, False)
    store.mark("m", 1, False)
    assert store.marked("m") == []
    with pytest.raises(SnapshotMissing):
        store.mark("m", 2, True)


def test_versions_aliased_lately_are_known(location: str) -> None:
    store = SnapshotStore.open(location, write=True)
    store.set_alias("m", "candidate", 9, generation=0, seq=1)
    trail = store.audit("m")
    for at, before, after in ((100.0, None, 1), (200.0, 1, 2), (300.0, 2, 3)):
        trail.append("a", "promote", "", before, after, 0, at=at)
    assert aliased(store, "m", lately_s=50.0, now=350.0) == {2, 3, 9}
    assert aliased(store, "m", lately_s=49.0, now=350.0) == {3, 9}
    assert aliased(store, "m", lately_s=160.0, now=350.0) == {1, 2, 3, 9}


def test_another_format_is_refused(location: str, overwrite: Overwrite) -> None:
    SnapshotStore.open(location, write=True).close()
    overwrite("format.json", b'{"format": 2}\n')
    for write in (False, True):
        with pytest.raises(FormatUnknown, match=r'found b\'\{"format": 2\}'):
            SnapshotStore.open(location, write=write)


def test_a_reader_changes_nothing(location: str) -> None:
    SnapshotStore.open(location, write=True).publish("m", 1, FILES, {})
    reader = SnapshotStore.open(location)
    for change in (
        lambda: reader.publish("m", 2, FILES, {}),
        lambda: reader.quarantine("m", 1, ""),
        lambda: reader.delete("m", 1, ""),
        lambda: reader.mark("m", 1, True),
    ):
        with pytest.raises(StoreReadOnly):
            change()
    assert reader.versions("m") == [1]


def test_a_second_writer_is_told_who_the_first_is(location: str) -> None:
    store = SnapshotStore.open(location, write=True)
    with pytest.raises(StoreLocked, match=f"process {os.getpid()} on "):
        SnapshotStore.open(location, write=True)
    store.close()
    with pytest.raises(ClaimLost):
        store.publish("m", 1, FILES, {})
    second = SnapshotStore.open(location, write=True)
    assert second.publish("m", 1, FILES, {})["version"] == 1


def test_of_writers_that_race_for_the_store_one_wins(location: str) -> None:
    start = threading.Barrier(4)
    won: list[SnapshotStore] = []
    lost: list[StoreLocked] = []

    def work() -> None:
        start.wait()
        try:
            won.append(SnapshotStore.open(location, write=True))
        except StoreLocked as error:
            lost.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 3)
    won[0].publish("m", 1, FILES, {})


def test_a_lock_is_free_again_when_its_process_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from model_store.snapshots.store import SnapshotStore as S;"
        f"s = S.open({str(tmp_path)!r}, write=True); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreLocked, match=f"process {holder.pid} "):
            SnapshotStore.open(tmp_path, write=True)
        holder.kill()
    SnapshotStore.open(tmp_path, write=True).close()


def test_a_deleted_lock_file_is_noticed(tmp_path: Path) -> None:
    store = SnapshotStore.open(tmp_path, write=True)
    (tmp_path / "lock").unlink()
    with pytest.raises(ClaimLost, match="lock"):
        store.publish("m", 1, FILES, {})
    assert store.versions("m") == []


def test_the_loser_of_a_take_over_changes_nothing(bucket: str, tmp_path: Path) -> None:
    location = f"{bucket}/{tmp_path.name}"
    old = SnapshotStore.open(location, write=True)
    old.publish("m", 1, FILES, {})
    champion = old.set_alias("m", "champion", 1, generation=0, seq=1)
    new = SnapshotStore.open(location, write=True, take_over=True)
    for change in (
        lambda: old.publish("m", 2, FILES, {}),
        lambda: old.set_alias("m", "champion", 2, generation=1, seq=2),
        lambda: old.set_alias("m", "candidate", 2, generation=0, seq=2),
        lambda: old.audit("m").append("a", "v", "", None, None, 0),
        lambda: old.mark("m", 1, True),
        lambda: old.quarantine("m", 1, ""),
        lambda: old.delete("m", 1, ""),
    ):
        with pytest.raises(ClaimLost, match=f"process {os.getpid()} .* generation 2"):
            change()
    old.close()
    assert new.alias("m", "champion") == champion
    assert new.aliases("m") == [champion]
    assert new.versions("m") == [1]
    assert new.audit("m").entries() == []
    assert new.publish("m", 2, FILES, {})["version"] == 2


def test_a_publication_begun_before_a_take_over_never_becomes_visible(
    bucket: str, tmp_path: Path
) -> None:
    """The loser checks its claim in time and writes its manifest too late."""
    location = f"{bucket}/{tmp_path.name}"
    old = SnapshotStore.open(location, write=True)
    claim = old._claim
    assert claim is not None
    check = claim.check
    new: list[SnapshotStore] = []
    checks = 0

    def checked_then_overtaken() -> None:
        nonlocal checks
        check()
        checks += 1
        if checks == 2:  # the check before the manifest
            new.append(SnapshotStore.open(location, write=True, take_over=True))

    claim.check = checked_then_overtaken  # type: ignore[method-assign]
    with pytest.raises(ClaimLost):
        old.publish("m", 1, FILES, {})
    assert new[0].versions("m") == []
    assert new[0].next_version("m") == 2
    assert new[0].publish("m", 2, FILES, {})["version"] == 2
    assert verify(new[0], "m") == []


@pytest.mark.parametrize(
    ("place", "finished"), [("snapshot.files_written", []), ("snapshot.renamed", [1])]
)
def test_a_crash_while_publishing_leaves_all_or_nothing(
    location: str, backend: Backend, place: str, finished: list[int]
) -> None:
    code = (
        "from model_store.snapshots.store import SnapshotStore as S;"
        f"S.open({location!r}, write=True).publish('m', 1, {FILES!r}, {{}})"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "APICAL_FAILPOINT": place}
    )
    assert found.returncode == -signal.SIGKILL
    assert SnapshotStore.open(location).versions("m") == finished
    store = SnapshotStore.open(location, write=True, take_over=True)
    assert store.versions("m") == finished
    assert verify(store, "m") == []
    names = {key.rsplit("/", 1)[-1] for key in backend.list(folder(1))}
    if finished:
        assert names == {*FILES, "manifest.json"}
    else:
        assert names <= {"manifest.json"}  # in a bucket, the empty one that voids it
    if not location.startswith("s3://"):
        assert list(Path(location).rglob(".*")) == []
    version = store.next_version("m")
    assert store.publish("m", version, FILES, {})["version"] == version
    assert store.versions("m") == [*finished, version]


def test_a_snapshot_that_lost_its_manifest_is_set_aside_not_cleared_away(
    bucket: str, tmp_path: Path
) -> None:
    """In a bucket it looks unfinished, but an alias names it."""
    location = f"{bucket}/{tmp_path.name}"
    store = SnapshotStore.open(location, write=True)
    store.publish("m", 1, FILES, {})
    store.set_alias("m", "champion", 1, generation=0, seq=1)
    store._backend.delete(f"{folder(1)}/manifest.json")
    store.close()
    again = SnapshotStore.open(location, write=True)
    assert again._backend.get("models/m/quarantine/00000001/model.onnx") == FILES["model.onnx"]
    assert again.next_version("m") == 2


def test_a_store_that_is_made_between_two_looks_is_no_foreign_folder(tmp_path, monkeypatch) -> None:
    SnapshotStore.open(tmp_path / "store", write=True).close()
    real, missed = LocalBackend.get, []

    def late(self, key: str, *more: Any) -> bytes:
        """The first look at the format comes a moment before the other process writes it."""
        if key == "format.json" and not missed:
            missed.append(key)
            raise KeyMissing(key)
        return real(self, key, *more)

    monkeypatch.setattr(LocalBackend, "get", late)
    SnapshotStore.open(tmp_path / "store", write=True).close()
    assert missed
