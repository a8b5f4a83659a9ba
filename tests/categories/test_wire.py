"""A category is sent as text, by every road; what is none of its values is missing, and said so."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
from click.testing import CliRunner

from clients import Rejected
from service.api.v1 import readings as api
from service.cli import main
from service.errors import InvalidRequest
from service.learner.specification import schema_of
from service.schema import Schema
from tests.categories.alloys import ALLOYS, MODEL, casting, row
from tests.serving import serving


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with serving(casting(tmp_path_factory.mktemp("wire"))) as started:
        yield started


@pytest.fixture
def schema(tmp_path):
    return schema_of(casting(tmp_path).models[0])


def test_rows_and_columns_mean_the_same_whole_or_with_gaps(schema):
    rows = [row(k) for k in range(12)]
    columns = {name: [r[name] for r in rows] for name in rows[0]}
    found = api.readings(schema, {"rows": rows}, 100)
    expected = [np.nan if r["alloy"] is None else ALLOYS.index(r["alloy"]) for r in rows]
    assert found.rows[:, 1].tolist() == pytest.approx(expected, nan_ok=True)
    for same in ({"columns": columns}, {"rows": [{**r, "alloy": r["alloy"] or ""} for r in rows]}):
        again = api.readings(schema, same, 100)
        assert again.rows.tobytes() == found.rows.tobytes()
        assert (again.missing, again.out_of_range) == (1, 0)
    # Each whole row is read at once, and each by itself where one is not.
    whole = api.readings(schema, {"rows": rows[:10]}, 100)
    gaps = api.readings(schema, {"rows": [*rows[:10], {"alloy": "鋼"}]}, 100)
    assert gaps.rows[:10].tobytes() == whole.rows.tobytes()
    assert gaps.rows[10].tolist() == pytest.approx([np.nan, 2, np.nan], nan_ok=True)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("form", ["rows", "columns"])
def test_an_unknown_value_is_missing_and_told_by_sensor(schema, form, whole):
    rows = [{"temp": 700.0, "alloy": "鋼", "pressure": 1.0}, {"alloy": "Cu", "pressure": 2.0}]
    rows[1]["temp"] = 700.0 if whole else None
    columns = {name: [r[name] for r in rows] for name in rows[0]}
    body = {"rows": rows} if form == "rows" else {"columns": columns}
    found = api.readings(schema, body, 100)
    assert np.isnan(found.rows[1, 1])
    assert schema.replaced(found)["out_of_range"] == {"alloy": 1}
    # Drift watching sees that something was said.
    assert found.raw[1, 1] == -1


@pytest.mark.parametrize("form", ["rows", "columns"])
@pytest.mark.parametrize("value", [1, 1.0, True, ["鋼"], {"a": 1}], ids=str)
def test_what_is_no_text_is_refused_and_so_is_a_text_of_a_number(schema, form, value):
    rows = [{**row(0)}, {**row(1), "alloy": value}]
    columns = {name: [r[name] for r in rows] for name in rows[0]}
    body = {"rows": rows} if form == "rows" else {"columns": columns}
    with pytest.raises(InvalidRequest) as said:
        api.readings(schema, body, 100)
    (fault,) = said.value.faults
    assert (fault.field, fault.row) == ("alloy", 1)
    assert fault.expected == "one of AlSi9, AlSi12, 鋼, or null"
    with pytest.raises(InvalidRequest, match=r"row 0, temp: expected a finite number or null"):
        api.readings(schema, {"rows": [{**row(0), "temp": "700"}]}, 100)


def test_a_category_may_reject_what_it_does_not_know(tmp_path):
    schema = schema_of(casting(tmp_path, alloy='out_of_range = "reject"').models[0])
    bad = {"rows": [row(0), {**row(1), "alloy": "Cu"}]}
    with pytest.raises(InvalidRequest, match=r"row 1, alloy: expected one of AlSi9.*found 'Cu'"):
        api.readings(schema, bad, 100)
    with pytest.raises(InvalidRequest, match="alloy: expected an index of its values, 0 to 2"):
        schema.ranged(np.array([[700.0, 3.0, 1.0]]))


def test_in_numbers_only_an_index_is_a_value(schema):
    sent = np.array([[700.0, at, 1.0] for at in (0, 2, -1, 3, 1.5, -0.0, np.nan)])
    found = schema.ranged(sent)
    assert found.rows[:, 1].tolist() == pytest.approx(
        [0, 2, np.nan, np.nan, np.nan, 0, np.nan], nan_ok=True
    )
    assert schema.replaced(found) == {"missing": {"alloy": 1}, "out_of_range": {"alloy": 3}}


def test_the_schema_is_read_back_and_says_its_values(schema):
    said = schema.to_json()["features"][1]
    assert said == {
        "name": "alloy",
        "unit": "",
        "kind": "category",
        "values": list(ALLOYS),
        "out_of_range": "missing",
    }
    again = Schema.from_json(schema.to_json())
    assert again.sensors == schema.sensors
    assert "kind" not in schema.to_json()["features"][0]


def test_the_reply_and_the_metric_say_what_was_replaced(running):
    rows = [row(0), {**row(1), "alloy": "Cu"}, {**row(2), "alloy": None}]
    answer = running.client.predict(MODEL, rows)
    assert answer.replaced == {"missing": {"alloy": 1}, "out_of_range": {"alloy": 1}}
    metrics = httpx.get(f"{running.url}/metrics").text
    assert 'apical_readings_total{feature="alloy",kind="out_of_range",model="cast"} 1.0' in metrics
    unknown = running.client.predict(MODEL, [{**row(1), "alloy": "Cu"}]).probabilities
    assert unknown == running.client.predict(MODEL, [{**row(1), "alloy": None}]).probabilities


def test_a_client_sends_texts_of_numpy_too(running):
    rows = [row(k) for k in range(8)]
    expected = running.client.predict(MODEL, rows).probabilities
    columns = {name: np.array([r[name] for r in rows]) for name in rows[0]}
    assert columns["alloy"].dtype.kind == "U"
    assert running.client.predict(MODEL, columns=columns).probabilities == expected
    with pytest.raises(Rejected, match="alloy: expected one of AlSi9, AlSi12, 鋼, or null"):
        running.client.predict(MODEL, [{**row(0), "alloy": 2}])


def test_the_same_batch_again_is_known_and_another_value_is_another_batch(running):
    about = {"labels": ["ok"], "batch_id": "b1"}
    first = running.client.learn(MODEL, [row(0)], **about)
    assert running.client.learn(MODEL, [row(0)], **about).seq == first.seq
    with pytest.raises(Rejected, match="batch_id"):
        running.client.learn(MODEL, [{**row(0), "alloy": ALLOYS[1]}], **about)


def infer(running, inputs, status=200, **more):
    said = httpx.post(f"{running.url}/v2/models/cast/infer", json={"inputs": inputs, **more})
    assert said.status_code == status, said.text
    return said.json()


def tensor(name, datatype, data, shape=None):
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def test_v2_takes_the_index_in_rows_and_bytes_by_itself(running):
    rows = [{**row(k), "alloy": ALLOYS[k % 3]} for k in range(6)]
    expected = running.client.predict(MODEL, rows).probabilities
    flat = [v for r in rows for v in (r["temp"], ALLOYS.index(r["alloy"]), r["pressure"])]
    numbers = [tensor(name, "FP32", [r[name] for r in rows]) for name in ("temp", "pressure")]
    texts = tensor("alloy", "BYTES", [r["alloy"] for r in rows])
    index = tensor("alloy", "INT64", [k % 3 for k in range(6)])
    for inputs in (
        [tensor("rows", "FP32", flat, [6, 3])],
        [*numbers, texts],
        [*numbers, index],
    ):
        found = infer(running, inputs)
        (said,) = [o for o in found["outputs"] if o["name"] == "probabilities"]
        np.testing.assert_array_equal(np.reshape(said["data"], (6, 2)), expected)
        assert "out_of_range" not in found["parameters"]
    odd = tensor("alloy", "BYTES", ["Cu", "", *[r["alloy"] for r in rows[2:]]])
    parameters = infer(running, [*numbers, odd])["parameters"]
    assert (parameters["out_of_range"], parameters["missing"]) == (1, 1)
    wrong = tensor("temp", "BYTES", ["hot"] * 6)
    assert "temp: expected a datatype of numbers" in infer(running, [wrong], 400)["error"]


def test_v2_says_what_the_indices_mean(running):
    said = httpx.get(f"{running.url}/v2/models/cast").json()
    assert said["parameters"]["values.alloy"] == list(ALLOYS)
    assert said["inputs"] == [{"name": "rows", "datatype": "FP32", "shape": [-1, 3]}]


def test_telegraf_has_them_in_fields_or_in_tags(running):
    def post(alloy_in, k):
        numbers = {name: v for name, v in row(k).items() if name != "alloy"}
        fields = {**numbers, **({"alloy": row(k)["alloy"]} if alloy_in == "fields" else {})}
        tags = {"host": "plc", **({"alloy": row(k)["alloy"]} if alloy_in == "tags" else {})}
        body = {"fields": fields, "tags": tags, "name": "m", "timestamp": 1_772_334_720}
        said = httpx.post(f"{running.url}/v1/ingest/telegraf/cast", json=body)
        assert said.status_code == 200, said.text
        return said.json()

    for k in range(4):
        expected = running.client.predict(MODEL, [row(k)]).probabilities
        assert post("fields", k)["probabilities"] == expected
        assert post("tags", k)["probabilities"] == expected
        assert post("nowhere", k)["replaced"] == {"missing": {"alloy": 1}}


def test_the_model_describes_its_values(running):
    features = running.client.model(MODEL).features
    assert features[1]["values"] == list(ALLOYS)
    assert "values" not in running.client.model(MODEL).raw["learning"]


def test_a_sensor_that_never_says_a_value_is_told_of(tmp_path):
    with serving(casting(tmp_path)) as running:
        running.client.predict(MODEL, [{**row(k), "alloy": "Cu"} for k in range(600)])
        silent = running.client.model(MODEL).raw["silent"]
        done = CliRunner().invoke(main, ["status", "--url", running.url])
    assert silent == {"alloy": {"kind": "out_of_range", "rows": 600}}
    assert "alloy is none of its values in all of the last 600 rows" in done.output
    assert "look at the sensor itself, and at its values in apical.toml" in done.output
