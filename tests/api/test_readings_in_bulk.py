"""Readings are taken in bulk where they can be, and one by one where faults have to be named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.v1 import readings as module
from service.api.v1.readings import readings
from service.errors import InvalidRequest
from service.schema import Schema, Sensor

NAMES = ("temp", "flow", "speed")
SCHEMA = Schema(
    [
        Sensor("temp", "°C", -20.0, 150.0),
        Sensor("flow", "", 0.0, 10.0, "clip"),
        Sensor("speed", "", -1e30, 1e30, "reject"),
    ],
    ["ok", "worn"],
)
NUMBERS = st.one_of(
    st.floats(-30, 200),
    st.integers(-30, 200),
    st.sampled_from([0, 1, 0.0, 1.0, -0.0, 1e300, 2**60, float("1e-320")]),
)
ODD = st.one_of(
    st.none(), st.booleans(), st.just("1.5"), st.just([1]), st.just(10**400), st.just(np.inf)
)
VALUES = st.one_of(NUMBERS, NUMBERS, NUMBERS, ODD, st.just(float("nan")))


def outcome(body):
    try:
        found = readings(SCHEMA, body, 100)
    except InvalidRequest as error:
        return str(error)
    return found.rows.tobytes(), found.raw.tobytes(), found.missing, found.out_of_range


@pytest.fixture
def one_by_one(monkeypatch):
    def ask(body):
        with monkeypatch.context() as patched:
            patched.setattr(module, "_numbers", lambda pieces: None)
            return outcome(body)

    return ask


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_in_bulk_or_one_by_one_is_the_same(data):
    values = data.draw(st.sampled_from([NUMBERS, VALUES, st.one_of(NUMBERS, st.none())]))
    count = data.draw(st.integers(1, 4))
    names = data.draw(st.permutations(NAMES))
    kept = names[: data.draw(st.sampled_from([3, 3, 2]))]
    if data.draw(st.booleans()):
        body = {"rows": [{n: data.draw(values) for n in kept} for _ in range(count)]}
    else:
        body = {"columns": {n: [data.draw(values) for _ in range(count)] for n in kept}}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_numbers", lambda pieces: None)
        slow = outcome(body)
    assert outcome(body) == slow


@pytest.mark.parametrize(
    "value", [True, False, "1", float("nan"), float("inf"), 10**400, [1], {"a": 1}]
)
@pytest.mark.parametrize("kind", ["rows", "columns"])
def test_what_is_no_reading_is_named_with_its_place(value, kind, one_by_one):
    rows = [{"temp": 1.0, "flow": 1, "speed": 0}, {"temp": 0, "flow": value, "speed": 1.0}]
    body = {"rows": rows}
    if kind == "columns":
        body = {"columns": {name: [row[name] for row in rows] for name in NAMES}}
    with pytest.raises(InvalidRequest) as caught:
        readings(SCHEMA, body, 100)
    (fault,) = caught.value.faults
    assert (fault.field, fault.row) == ("flow", 1)
    assert one_by_one(body) == outcome(body)


def test_whole_rows_and_columns_are_taken_in_bulk(monkeypatch):
    """Or this file would compare one path with itself."""
    taken = []
    real = module._numbers
    monkeypatch.setattr(module, "_numbers", lambda p: taken.append(real(p)) or taken[-1])
    rows = [{"temp": 1.0, "flow": None, "speed": 0}]
    readings(SCHEMA, {"rows": rows}, 100)
    readings(SCHEMA, {"columns": {"speed": [1, 2], "temp": [0.5, 1.0]}}, 100)
    assert [t is not None for t in taken] == [True, True]
