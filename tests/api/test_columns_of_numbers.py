"""Columns that simdjson reads say what they would say by the reader of all other bodies."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api import bodies
from service.api.v1.columns import FEWEST_BYTES, MOST_COLUMNS, Columns, read
from service.api.v1.readings import readings
from service.errors import ApicalError
from service.schema import Schema, Sensor

SCHEMA = Schema(
    [
        Sensor("a", "", -1e9, 1e9),
        Sensor("b", "", 0.0, 5.0, "clip"),
        Sensor("[c]", "", -1.0, 1.0, "reject"),
    ],
    ["ok", "bad"],
)
CATEGORY = Schema(
    [Sensor("a", "", -1e9, 1e9), Sensor("b", "", 0.0, 1.0, values=("x", "y"))], ["ok", "bad"]
)
PADDING = b" " * FEWEST_BYTES


def padded(body):
    """The same JSON, long enough."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return text[:-1] + PADDING + text[-1:]


def told(schema, reader, data):
    """What a body comes to: its arrays and all else that it says, or its error."""
    try:
        body = reader(data)
        rest = {key: value for key, value in body.items() if key != "columns"}
        found = readings(schema, body, 100)
    except ApicalError as error:
        return type(error), str(error), [*map(str, getattr(error, "faults", ()))]
    return rest, found.rows.tobytes(), found.raw.tobytes(), found.missing, found.out_of_range


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-2, 2, width=32),
    st.integers(-5, 5),
    st.integers(-(2**70), 2**70),
)
ODD = st.one_of(
    NUMBERS, st.none(), st.booleans(), st.just("1"), st.just(math.nan), st.lists(NUMBERS)
)
LISTS = st.one_of(
    st.lists(NUMBERS, min_size=3, max_size=3),
    st.lists(ODD, min_size=3, max_size=3),
    st.lists(NUMBERS, max_size=4),
    st.just({"a": [1]}),
    st.just("[1]"),
)
BODIES = st.fixed_dictionaries(
    {"columns": st.one_of(st.dictionaries(st.sampled_from(["a", "b", "[c]", "d"]), LISTS), LISTS)},
    optional={
        "labels": st.lists(st.sampled_from(["ok", "bad", None, "["]), max_size=4),
        "batch_id": st.sampled_from(["x", "[", "ü\ud800"]),
        "line": st.none(),
        "rows": LISTS,
    },
)


@settings(max_examples=400, deadline=None)
@given(BODIES, st.sampled_from([SCHEMA, CATEGORY]))
def test_both_readers_say_the_same(body, schema):
    data = padded(body)
    assert told(schema, read, data) == told(schema, bodies.parse, data)


@pytest.mark.parametrize(
    "text",
    [
        b'{"columns":{"a":[1,2],"a":[3,4]}}',
        b'{"columns":{"a":[1,2]},"columns":{"a":[3,4]}}',
        b'{"columns":{"a":[[1],[2]]}}',
        b'{"columns":{"a":[[1,2]]}}',
        b'{"columns":{"a":[1,[2]]}}',
        b'{"columns":{"a":[]}}',
        b'{"columns":{}}',
        b'{"columns":[1,2]}',
        b'{"columns":{"a":[1e400]}}',
        b'{"columns":{"a":[-0,-0.0]}}',
        b'{"columns":{"a":[9007199254740993,18446744073709551616,12345678901234567890]}}',
        b'{"columns":{"a":[NaN,Infinity]}}',
        b'{"columns":{"a":[1,]}}',
        b'{"columns":{"a":[01]}}',
        b'{"columns":{"a":[1]},"line":"\\ud800"}',
        b'{"columns":{"a":[1]},"line":"\xff"}',
        b'{"columns":{"a":[1]}} {}',
        b'\xef\xbb\xbf{"columns":{"a":[1]}}',
        b'{"columns":{"\\u0061":[1]}}',
        b'["columns"]',
    ],
)
def test_odd_bodies_are_told_in_the_same_words(text):
    data = padded(text)
    assert told(SCHEMA, read, data) == told(SCHEMA, bodies.parse, data)


def test_numbers_are_read_without_an_object_for_each():
    rng = np.random.default_rng(0)
    sent = {name: rng.normal(size=100).tolist() for name in ("[c]", "a", "b")}
    body = read(padded({"columns": sent, "labels": ["ok"] * 100, "batch_id": "7"}))
    # A name holds a bracket, so this one goes by the other reader.
    assert body["columns"] == sent
    del sent["[c]"]
    body = read(padded({"columns": sent, "labels": ["ok"] * 100, "batch_id": "7"}))
    found = body["columns"]
    assert isinstance(found, Columns)
    assert found.names == ("a", "b")
    assert found.numbers.tolist() == list(sent.values())
    assert found.lists() == sent
    assert body["labels"] == ["ok"] * 100
    assert body["batch_id"] == "7"


def test_a_body_of_more_columns_than_any_model_has_goes_by_the_other_reader():
    sent = {f"s{k}": [k] for k in range(MOST_COLUMNS + 1)}
    assert read(padded({"columns": sent}))["columns"] == sent
    del sent["s0"]
    assert isinstance(read(padded({"columns": sent}))["columns"], Columns)


def test_what_one_body_said_is_still_there_after_the_next():
    first = read(padded({"columns": {"a": [1, 2, 3]}}))["columns"]
    read(padded({"columns": {"a": [4, 5, 6]}}))
    assert first.numbers.tolist() == [[1, 2, 3]]
