"""A store lives in an empty folder or in its own, and deletes only what it made itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_store.errors import FormatUnknown
from model_store.snapshots.store import SnapshotStore

FOREIGN = {
    ".env": b"SECRET=1",
    ".git/config": b"[core]",
    ".git/objects/.tmp/a": b"object",
    "src/.cache/x": b"cache",
    "src/.editor.swp": b"typed",
}


def put(folder: Path, names: dict[str, bytes]) -> None:
    for name, data in names.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_a_folder_with_other_things_in_it_is_refused_and_left_as_it_is(
    tmp_path: Path, name: str
) -> None:
    put(tmp_path, {name: FOREIGN[name]})
    with pytest.raises(FormatUnknown, match=r"expected a snapshot store, or an empty.*found '"):
        SnapshotStore.open(tmp_path, write=True)
    assert files(tmp_path) == {name: FOREIGN[name]}


def test_what_somebody_put_beside_a_store_outlives_every_start(tmp_path: Path) -> None:
    SnapshotStore.open(tmp_path, write=True).close()
    put(tmp_path, FOREIGN)
    put(tmp_path / "models/m", {".notes": b"keep me"})
    before = files(tmp_path)
    SnapshotStore.open(tmp_path, write=True).close()
    assert {k: v for k, v in files(tmp_path).items() if k != "lock"} == {
        k: v for k, v in before.items() if k != "lock"
    }


def test_what_a_crash_left_of_our_own_is_cleared_away(tmp_path: Path) -> None:
    SnapshotStore.open(tmp_path, write=True).close()
    put(tmp_path / "models/m/snapshots", {".00000001.0123456789ab.tmp/manifest.json": b"half"})
    put(tmp_path, {".format.json.0123456789ab.tmp": b"half"})
    SnapshotStore.open(tmp_path, write=True).close()
    assert not [name for name in files(tmp_path) if name.endswith("half") or ".tmp" in name]


def test_a_start_that_died_before_the_format_file_can_be_repeated(tmp_path: Path) -> None:
    put(tmp_path, {"lock": b"", ".format.json.0123456789ab.tmp": b"half"})
    SnapshotStore.open(tmp_path, write=True).close()
    assert (tmp_path / "format.json").exists()
