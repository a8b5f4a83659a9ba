from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from model_store.backends.backend import Backend
from model_store.backends.local import LocalBackend
from model_store.errors import AboveLimit, Conflict, KeyExists, KeyMissing, StoreUnavailable


def together(count: int, work) -> None:
    start = threading.Barrier(count)

    def run(i: int) -> None:
        start.wait()
        work(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_what_was_created_is_read_back(backend: Backend) -> None:
    backend.create("a/b.json", b"one")
    assert backend.get("a/b.json") == b"one"
    assert backend.size("a/b.json") == 3
    assert backend.list("") == ["a/b.json"]
    assert backend.children("") == ["a"]
    assert backend.children("a") == ["b.json"]


def test_a_missing_key_is_named(backend: Backend) -> None:
    for read in (backend.get, backend.size, backend.delete):
        with pytest.raises(KeyMissing, match=r"a/b\.json"):
            read("a/b.json")


def test_create_never_replaces(backend: Backend) -> None:
    backend.create("k", b"one")
    with pytest.raises(KeyExists):
        backend.create("k", b"two")
    assert backend.get("k") == b"one"


def test_one_of_many_creators_wins(backend: Backend) -> None:
    for round_ in range(5):
        winners = []

        def put(i: int, key: str = f"k{round_}", winners: list[int] = winners) -> None:
            try:
                backend.create(key, b"by %d" % i)
            except KeyExists:
                return
            winners.append(i)

        together(8, put)
        assert len(winners) == 1
        assert backend.get(f"k{round_}") == b"by %d" % winners[0]


def test_replace_needs_the_tag_of_what_is_there(backend: Backend) -> None:
    backend.create("k", b"one")
    _, tag = backend.get_tagged("k")
    backend.replace("k", b"two", tag)
    with pytest.raises(Conflict):
        backend.replace("k", b"three", tag)
    assert backend.get("k") == b"two"


def test_replace_of_a_missing_key_is_a_conflict(backend: Backend) -> None:
    backend.create("k", b"one")
    _, tag = backend.get_tagged("k")
    backend.delete("k")
    with pytest.raises(Conflict):
        backend.replace("k", b"two", tag)
    assert backend.list("") == []


def test_compare_and_swap_under_threads_loses_no_increment(backend: Backend) -> None:
    backend.create("n", b"0 start")

    def count(i: int) -> None:
        done = 0
        while done < 5:
            data, tag = backend.get_tagged("n")
            n = int(data.split()[0])
            try:
                # The writer's name and turn: equal bytes of two writers would look like success.
                backend.replace("n", b"%d %d.%d" % (n + 1, i, done), tag)
            except Conflict:
                continue
            done += 1

    together(8, count)
    assert backend.get("n").split()[0] == b"40"


def test_a_poll_says_nothing_until_the_bytes_change(backend: Backend) -> None:
    backend.create("k", b"one")
    _, tag = backend.get_tagged("k")
    assert backend.get_changed("k", tag) is None
    backend.replace("k", b"two", tag)
    found = backend.get_changed("k", tag)
    assert found is not None
    assert found[0] == b"two"


def test_what_is_too_large_is_not_read(backend: Backend) -> None:
    backend.create("k", b"x" * 100)
    assert len(backend.get("k", limit=100)) == 100
    with pytest.raises(AboveLimit, match="at most 99 bytes, found 100"):
        backend.get("k", limit=99)


def test_publication_is_all_or_nothing(backend: Backend) -> None:
    files = {"a": b"1", "b": b"2", "manifest.json": b"{}"}

    def fail() -> None:
        assert backend.published("p") == []
        raise RuntimeError("before the commit")

    with pytest.raises(RuntimeError):
        backend.publish("p/1", files, fail)
    assert backend.published("p") == []
    backend.publish("p/2", files)
    assert backend.published("p") == ["2"]
    assert backend.list("p/2") == ["p/2/a", "p/2/b", "p/2/manifest.json"]


def test_a_published_prefix_is_never_overwritten(backend: Backend) -> None:
    backend.publish("p/1", {"a": b"1", "manifest.json": b"{}"})
    with pytest.raises(KeyExists):
        backend.publish("p/1", {"a": b"2", "manifest.json": b"{ }"})
    assert backend.get("p/1/a") == b"1"
    assert backend.list("p") == ["p/1/a", "p/1/manifest.json"]


def test_move_takes_everything_along(backend: Backend) -> None:
    backend.publish("p/1", {"a": b"1", "manifest.json": b"{}"})
    backend.move("p/1", "q/1")
    assert backend.list("") == ["q/1/a", "q/1/manifest.json"]
    assert backend.get("q/1/a") == b"1"
    backend.publish("p/1", {"a": b"2", "manifest.json": b"{}"})
    with pytest.raises(KeyExists):
        backend.move("p/1", "q/1")


def test_remove_leaves_nothing_and_spares_the_neighbour(backend: Backend) -> None:
    for name in ("1", "10"):
        backend.publish(f"p/{name}", {"a": b"1", "manifest.json": b"{}"})
    backend.remove("p/1")
    backend.remove("p/none")
    assert backend.list("p") == ["p/10/a", "p/10/manifest.json"]


def test_keys_cannot_leave_the_directory(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path / "store")
    for key in ("../x", "a/../../x", "/etc/passwd", "a//b", ".hidden"):
        with pytest.raises(ValueError, match="key"):
            backend.create(key, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_disk_is_reported_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "in_the_way").write_bytes(b"")
    backend = LocalBackend(tmp_path / "store")
    with pytest.raises((StoreUnavailable, OSError)):
        backend.create("in_the_way/k", b"x")
    with pytest.raises(StoreUnavailable):
        backend.create("k" * 300, b"x")
    assert [p.name for p in (tmp_path / "store").iterdir()] == ["in_the_way"]


def test_an_unreachable_bucket_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from model_store.backends.s3 import S3Backend

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(StoreUnavailable, match="s3://nowhere/k"):
        S3Backend("s3://nowhere").get("k")


def test_a_put_whose_answer_was_lost_counts_as_done(bucket: str, tmp_path: Path) -> None:
    """The client retries a put that had arrived; the refusal of the second is no failure."""
    from model_store.backends.s3 import S3Backend

    backend = S3Backend(f"{bucket}/{tmp_path.name}")
    backend.create("k", b"mine")
    backend.create("k", b"mine")
    _, tag = backend.get_tagged("k")
    backend.replace("k", b"mine 2", tag)
    backend.replace("k", b"mine 2", tag)
    with pytest.raises(KeyExists):
        backend.create("k", b"theirs")


def test_an_unfinished_publication_can_be_voided_once_and_for_all(
    bucket: str, tmp_path: Path
) -> None:
    from model_store.backends.s3 import S3Backend

    backend = S3Backend(f"{bucket}/{tmp_path.name}")

    def overtaken() -> None:
        assert backend.unfinished("p") == ["1"]
        assert backend.void("p/1")

    with pytest.raises(KeyExists):
        backend.publish("p/1", {"a": b"1", "manifest.json": b"{}"}, overtaken)
    assert backend.published("p") == []
    backend.publish("p/2", {"a": b"1", "manifest.json": b"{}"})
    assert not backend.void("p/2")
    assert backend.published("p") == ["2"]


def test_a_reader_of_a_directory_loads_nothing_beyond_the_standard_library() -> None:
    code = (
        "import sys; from model_store.snapshots.store import SnapshotStore as S;"
        "S.open('/nonexistent/x').models();"
        "bad = {'numpy', 'obstore', 'torch', 'fastapi'} & set(sys.modules);"
        "sys.exit(repr(bad) if bad else 0)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    assert found.returncode == 0, found.stderr
