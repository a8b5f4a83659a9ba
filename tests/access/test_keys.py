"""The file of keys: digests alone, written whole, read again when it changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.access import keys
from service.access.keyring import LOOK_S, Keyring
from service.errors import ConfigurationError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


def test_a_key_is_shown_once_and_kept_as_a_digest(path):
    key, secret = keys.add(path, "gateway-3", "line", ("press",), "press-3")
    assert keys.read(path) == (key,)
    assert secret.encode() not in path.read_bytes()
    # the part after the mark and the id is the secret itself, and may hold "_" (it is URL-safe)
    assert secret.split("_", 2)[2].encode() not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.is_it(secret, key)
    assert not keys.is_it(secret[:-1], key)
    assert not keys.is_it(secret, None)
    assert not keys.is_it("\udcff", key)


def test_who_may_read_the_file_may_go_on_to(path):
    keys.add(path, "a", "reader")
    path.chmod(0o640)
    keys.add(path, "b", "reader")
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_role_includes_those_before_it(path):
    reader, line, operator = (keys.add(path, role, role)[0] for role in keys.ROLES)
    assert [k.may("line") for k in (reader, line, operator)] == [False, True, True]
    assert line.opens("press")
    bound, _ = keys.add(path, "bound", "line", ("press", "mill"))
    assert [bound.opens(m) for m in ("press", "mill", "lathe")] == [True, True, False]


def test_names_of_keys_in_use_are_distinct_and_come_free_when_revoked(path):
    first, _ = keys.add(path, "gateway", "line")
    with pytest.raises(ConfigurationError, match="expected a name that no key has"):
        keys.add(path, "gateway", "reader")
    assert keys.revoke(path, "gateway").revoked_at is not None
    with pytest.raises(ConfigurationError, match=r"expected one of the keys \[\]"):
        keys.revoke(path, first.id)
    second, _ = keys.add(path, "gateway", "reader")
    assert [k.id for k in keys.read(path)] == [first.id, second.id]


@pytest.mark.parametrize("name", ["", "-x", "a b", "x" * 65, "a\nb"])
def test_a_name_that_is_none_makes_no_file(path, name):
    with pytest.raises(ConfigurationError, match="name"):
        keys.add(path, name, "reader")
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file"),
        (b"[]", "the file"),
        (b'{"format": 2, "keys": []}', "format"),
        (b'{"format": 1, "keys": [{"id": "x"}]}', "keys.0.id"),
    ],
)
def test_a_damaged_file_is_told_with_the_place(path, content, said):
    path.write_bytes(content)
    for ask in (lambda: keys.read(path), lambda: keys.add(path, "a", "reader")):
        with pytest.raises(ConfigurationError, match=said):
            ask()
    assert path.read_bytes() == content


def test_what_stands_in_a_damaged_file_is_not_told(path):
    path.write_text(json.dumps({"format": 1, "keys": [{"id": "apical_secret"}]}))
    with pytest.raises(ConfigurationError) as said:
        keys.read(path)
    assert "apical_secret" not in str(said.value)


def test_keys_that_are_made_at_once_are_all_there(path):
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda k: keys.add(path, f"k{k}", "reader"), range(24)))
    assert {k.name for k in keys.read(path)} == {f"k{k}" for k in range(24)}
    assert os.listdir(path.parent) == [path.name]


def test_a_keyring_sees_who_is_added_and_revoked(path):
    now = [0.0]
    _, one = keys.add(path, "one", "reader")
    ring = Keyring(path, lambda: now[0])
    _, two = keys.add(path, "two", "reader")
    assert ring.find(one).name == "one"
    assert ring.find(two) is None
    now[0] += LOOK_S
    assert ring.find(two).name == "two"
    keys.revoke(path, "one")
    now[0] += LOOK_S
    assert ring.find(one).revoked_at is not None
    for wrong in ("", "x", one[:-1], one + "x", two.replace(two[7:19], one[7:19])):
        assert ring.find(wrong) is None


def test_a_mistake_in_the_file_stops_no_line(path):
    now = [0.0]
    _, secret = keys.add(path, "one", "reader")
    ring = Keyring(path, lambda: now[0])
    path.write_text("{")
    now[0] += LOOK_S
    assert ring.find(secret).name == "one"
    path.unlink()
    now[0] += LOOK_S
    assert ring.find(secret).name == "one"
    _, again = keys.add(path, "one", "reader")
    now[0] += LOOK_S
    assert ring.find(secret) is None
    assert ring.find(again).name == "one"


def test_nobody_could_ever_enter(path):
    with pytest.raises(ConfigurationError, match="`apical keys add` makes one"):
        Keyring(path)
    keys.add(path, "one", "reader")
    keys.revoke(path, "one")
    with pytest.raises(ConfigurationError, match="at least one key that is not revoked"):
        Keyring(path)


def apical(*arguments, folder):
    return subprocess.run(
        [sys.executable, "-m", "service.cli", "keys", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )


def test_the_command_prints_the_key_alone_and_lists_no_digest(tmp_path):
    made = apical(
        *("add", "gateway-3", "--role", "line", "--model", "press", "--line", "press-3"),
        folder=tmp_path,
    )
    secret = made.stdout.strip()
    assert keys.id_of(secret) is not None
    assert secret not in made.stderr
    (key,) = keys.read(tmp_path / "apical-keys.json")
    assert keys.is_it(secret, key)
    listed = apical("list", folder=tmp_path).stdout
    assert "gateway-3" in listed
    assert "press-3" in listed
    (entry,) = json.loads(apical("list", "--json", folder=tmp_path).stdout)
    assert entry["revoked_at"] is None
    assert not any(key.digest in str(v) or secret in str(v) for v in [entry, listed])
    assert "revoked" in apical("revoke", "gateway-3", folder=tmp_path).stdout
    again = apical("revoke", "gateway-3", folder=tmp_path)
    assert again.returncode == 1
    assert "expected one of the keys []" in again.stderr
    nothing = apical("list", "--keys", "none.json", folder=tmp_path)
    assert nothing.returncode == 1
    assert "none.json: expected a file of keys, found none" in nothing.stderr
