"""Entries of a store that are no files of ours are refused: not followed, and not waited for."""

from __future__ import annotations

import os
import shutil

import pytest

from model_store.errors import Damaged
from model_store.snapshots.store import SnapshotStore

FILES = {"model.onnx": b"graph"}
BAD_NAMES = ["../x", "..", "a/../b", "/etc/passwd", "a\0b", ".hidden", "", "%2e%2e", "a\\b", "a/b"]


@pytest.fixture
def store(tmp_path):
    opened = SnapshotStore.open(tmp_path / "store", write=True)
    opened.publish("m", 1, FILES, {"seq": 0})
    opened.set_alias("m", "champion", 1, generation=0, seq=0)
    opened.audit("m").append("a", "promote", "x", None, 1, 0)
    yield opened
    opened.close()


READ = {
    "snapshots/00000001/manifest.json": lambda s: s.manifest("m", 1),
    "snapshots/00000001/model.onnx": lambda s: s.read("m", 1, "model.onnx"),
    "aliases/champion.json": lambda s: s.alias("m", "champion"),
    "audit/00000001.json": lambda s: s.audit("m").entries(),
}


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
@pytest.mark.parametrize("entry", READ)
def test_an_entry_that_is_no_file_is_refused_at_once(store, tmp_path, entry, kind):
    path = tmp_path / "store/models/m" / entry
    elsewhere = tmp_path / "elsewhere"
    shutil.copy(path, elsewhere)
    path.unlink()
    if kind == "link":
        path.symlink_to(elsewhere)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(Damaged, match="expected a regular file, found"):
        READ[entry](store)


def test_a_folder_that_is_a_link_is_refused(store, tmp_path):
    folder = tmp_path / "store/models/m/snapshots/00000001"
    shutil.move(folder, tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    with pytest.raises(Damaged, match="expected a directory, found a symbolic link"):
        store.manifest("m", 1)


def test_the_store_itself_may_be_reached_by_a_link(store, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "store")
    assert SnapshotStore.open(tmp_path / "link").read("m", 1, "model.onnx") == b"graph"


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_lead_elsewhere_are_refused(store, name):
    for attempt in (
        lambda: store.publish(name, 1, FILES, {}),
        lambda: store.publish("m", 2, {name: b""}, {}),
        lambda: store.set_alias("m", name, 1, generation=0, seq=0),
    ):
        with pytest.raises(Exception, match="expected"):
            attempt()
    assert store.versions("m") == [1]
