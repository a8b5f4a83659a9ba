"""Sealed files: what is read is what was written, also where it was read before."""

from __future__ import annotations

import pytest

from model_store import sealed
from model_store.errors import Damaged
from model_store.sealed import MOST_KNOWN, seal, unseal

VALUE = {"a": [1.0, 2.5], "b": {"c": None}}


@pytest.mark.parametrize("before", [0, 1, 2])
def test_every_other_spelling_is_damage_however_often_the_right_one_was_read(before):
    data = seal(VALUE)
    for _ in range(before):
        unseal(data, "here")
    for other in (data.replace(b"1.0", b"1.00"), data.replace(b": null", b":null"), data + b" "):
        for _ in range(2):
            with pytest.raises(Damaged, match="the spelling that was written"):
                unseal(other, "here")
    for _ in range(2):
        with pytest.raises(Damaged, match="the digest it names"):
            unseal(data.replace(b"2.5", b"2.25"), "here")


def test_what_was_read_before_is_a_value_of_ones_own():
    data = seal(VALUE)
    unseal(data, "here")["a"].append(3)
    assert unseal(data, "here")["a"] == [1.0, 2.5]


def test_a_known_file_is_not_spelled_again(monkeypatch):
    data = seal({**VALUE, "once": True})
    unseal(data, "here")
    monkeypatch.setattr(sealed, "_spell", None)
    assert unseal(data, "here")["once"] is True


def test_no_more_are_known_than_have_room(monkeypatch):
    monkeypatch.setattr(sealed, "_known", sealed._Known())
    files = [seal({"n": n}) for n in range(MOST_KNOWN + 10)]
    for data in files:
        unseal(data, "here")
    assert len(sealed._known._digests) == MOST_KNOWN
    assert not sealed._known.has(files[0])
    assert sealed._known.has(files[-1])
    assert unseal(files[0], "here")["n"] == 0


def test_a_value_that_no_reader_would_give_back_is_damage():
    # A number as a key becomes text, which may come in another order.
    with pytest.raises(Damaged):
        unseal(seal({"a": {2: 0, 10: 0}}), "here")
