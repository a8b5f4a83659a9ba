"""Who may write to a store: claims, take-overs, and what a writer that dies leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from model_store.backends.backend import Backend
from model_store.backends.local import LocalBackend
from model_store.errors import ClaimLost, KeyMissing, StoreLocked
from model_store.snapshots.store import SnapshotStore
from model_store.snapshots.verification import verify
from tests.model_store.published import FILES, folder


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
