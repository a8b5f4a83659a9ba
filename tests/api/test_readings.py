"""What a line sends is checked once; faults name row, field, expected and found."""

from __future__ import annotations

import math

import numpy as np
import pytest

from service.api.v1.readings import labels as read_labels
from service.api.v1.readings import readings as read_rows
from service.errors import InvalidRequest, TooLarge
from service.schema import Schema, Sensor

SCHEMA = Schema(
    [
        Sensor("temp", "°C", -20, 150),
        Sensor("flow", "l/s", 0, 10, "clip"),
        Sensor("speed", "1/s", 0, 5, "reject"),
    ],
    ["ok", "worn"],
)


def fault(body, limit=10):
    with pytest.raises(InvalidRequest) as caught:
        read_rows(SCHEMA, body, limit)
    return caught.value.faults[0]


def test_rows_become_columns_in_the_models_order_and_absent_or_null_is_missing():
    got = read_rows(SCHEMA, {"rows": [{"speed": 1, "temp": 20.5}, {"flow": None, "temp": 3}]}, 10)
    np.testing.assert_array_equal(
        got.rows, np.array([[20.5, np.nan, 1], [3, np.nan, np.nan]], np.float32)
    )
    assert (got.missing, got.out_of_range) == (3, 0)


def test_columns_are_the_same_as_rows():
    rows = read_rows(SCHEMA, {"rows": [{"temp": 1.5, "flow": 2}, {"temp": None, "flow": 3}]}, 10)
    columns = read_rows(SCHEMA, {"columns": {"flow": [2, 3], "temp": [1.5, None]}}, 10)
    np.testing.assert_array_equal(rows.rows, columns.rows)


def test_out_of_range_is_missing_clipped_or_rejected_as_each_sensor_declares():
    got = read_rows(SCHEMA, {"rows": [{"temp": 500.0, "flow": 99.0, "speed": 5}]}, 10)
    assert math.isnan(got.rows[0, 0])
    assert got.rows[0, 1] == 10
    assert got.out_of_range == 2
    assert got.raw[0, 0] == 500
    f = fault({"rows": [{"temp": 1}, {"speed": 7}]})
    assert (f.row, f.field, f.expected, f.found) == (1, "speed", "a reading in [0, 5] 1/s", "7")


@pytest.mark.parametrize("value", [3.4028235e38, 1e39, 1.797e308, 10**300])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_reading_that_float32_cannot_hold_follows_its_sensors_policy(value, sign):
    got = read_rows(SCHEMA, {"columns": {"temp": [sign * value], "flow": [sign * value]}}, 10)
    assert math.isnan(got.rows[0, 0])
    assert got.rows[0, 1] == (10 if sign > 0 else 0)
    assert np.isfinite(got.raw[0, :2]).all()
    f = fault({"rows": [{"speed": sign * value}]})
    assert (f.field, f.expected, f.found) == (
        "speed",
        "a reading in [0, 5] 1/s",
        f"{sign * float(value):g}",
    )


def test_minus_zero_is_zero():
    minus = read_rows(SCHEMA, {"rows": [{"temp": -0.0, "flow": 0}]}, 10)
    zero = read_rows(SCHEMA, {"rows": [{"temp": 0, "flow": -0.0}]}, 10)
    assert minus.rows.tobytes() == zero.rows.tobytes()


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (math.inf, "infinity"),
        (-math.inf, "infinity"),
        (math.nan, "NaN (a missing reading is null)"),
        pytest.param(10**400, "1" + "0" * 56 + "…", id="10^400"),
        ("hot", "'hot'"),
        (True, "True"),
        ([1], "a list of 1"),
    ],
)
def test_a_reading_that_is_no_finite_number_is_named(value, found):
    for body in ({"rows": [{}, {"temp": value}]}, {"columns": {"temp": [1.0, value]}}):
        f = fault(body)
        assert (f.row, f.field, f.expected) == (1, "temp", "a finite number or null")
        assert f.found == found


def test_an_unknown_sensor_is_named_with_those_that_are_known():
    f = fault({"rows": [{"temp": 1}, {"tmep": 1}]})
    assert (f.row, f.field, f.found) == (1, "tmep", "an unknown sensor")
    assert "temp, flow, speed" in f.expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, "either rows or columns"),
        ({"rows": [], "columns": {}}, "either rows or columns"),
        ({"rows": []}, "at least one row"),
        ({"columns": {}}, "at least one row"),
        ({"rows": 3}, "a list of objects"),
        ({"rows": [3]}, "an object of sensor readings"),
        ({"columns": [1]}, "an object of lists, one per sensor"),
        ({"columns": {"temp": 1}}, "a list of readings"),
        ({"columns": {"temp": [1], "flow": [1, 2]}}, "1 readings, as in the columns before it"),
    ],
)
def test_a_body_of_the_wrong_shape_says_what_was_expected(body, expected):
    assert fault(body).expected == expected


def test_more_rows_than_the_limit_is_its_own_error():
    with pytest.raises(TooLarge, match="at most 10 rows, found 11"):
        read_rows(SCHEMA, {"rows": [{}] * 11}, 10)


def test_labels_are_class_names_or_null():
    assert read_labels(SCHEMA, ["worn", None, "ok"], 3).tolist() == [1, -1, 0]
    assert read_labels(SCHEMA, [None, None], 2) is None
    assert read_labels(SCHEMA, None, 2) is None
    with pytest.raises(
        InvalidRequest, match="row 1, labels: expected null or one of ok, worn, found 'bad'"
    ):
        read_labels(SCHEMA, ["ok", "bad"], 2)
    with pytest.raises(InvalidRequest, match="expected 2 labels, one per row, found 1"):
        read_labels(SCHEMA, ["ok"], 2)
    with pytest.raises(InvalidRequest, match="found 1"):
        read_labels(SCHEMA, [1], 1)


def test_a_batch_that_is_wrong_everywhere_lists_a_few_faults():
    with pytest.raises(InvalidRequest) as caught:
        read_rows(SCHEMA, {"rows": [{"temp": "x"}] * 1000}, 5000)
    assert len(caught.value.faults) == 20


def test_a_schema_comes_back_from_its_manifest():
    again = Schema.from_json(SCHEMA.to_json())
    assert again.sensors == SCHEMA.sensors
    assert again.classes == SCHEMA.classes
