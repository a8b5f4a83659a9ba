"""Requests of the inference protocol that nobody should send: each is told what was wrong with it,
and the model stays as it was."""

from __future__ import annotations

import json
import struct
import zlib

import httpx
import pytest

from tests.serving import IMMEDIATE, press, serving

ROWS = {"name": "rows", "datatype": "FP32", "shape": [1, 2], "data": [70.0, 2.0]}
LABEL = {"name": "label", "datatype": "INT64", "shape": [1], "data": [0]}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    top = "[limits]\nrows_per_batch = 50\nbody_bytes = 20000\n"
    folder = tmp_path_factory.mktemp("odd")
    with serving(press(folder, top=top, model=IMMEDIATE)) as started:
        yield started


def infer(running, content, **headers):
    url = f"{running.url}/v2/models/press/infer"
    return httpx.post(url, content=content, headers=headers)


def rows(**more):
    return {"inputs": [{**ROWS, **more}, LABEL]}


def bytes_of(size, shape=(1, 2)):
    described = {"name": "rows", "datatype": "FP32", "shape": list(shape)}
    return {"inputs": [{**described, "parameters": {"binary_data_size": size}}]}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "inputs: expected a list of tensors, found none"),
        ({"inputs": {}}, "inputs: expected a list of tensors"),
        ({"inputs": [7]}, "inputs[0]: expected an object that describes a tensor, found 7"),
        ({"inputs": [ROWS] * 2}, "rows: expected each tensor once"),
        ({"inputs": [ROWS] * 9}, "expected at most 4 tensors, found 9"),
        ({"inputs": [LABEL]}, "label without batch_id"),
        ({"inputs": [ROWS, {**LABEL, "data": [1.5]}]}, "expected a whole number as element 0"),
        ({"inputs": [ROWS, {**LABEL, "datatype": "FP32"}]}, "found FP32"),
        (rows(shape=[16, 2**60 + 2]), "elements, as its shape says, found 2"),
        (rows(shape=[2, -5]), "none below 0, found [2, -5]"),
        (rows(shape=[0, 2], data=[]), "expected at least one row, found none"),
        (rows(shape=[51, 2], data=[1.0] * 102), "expected at most 50 rows, found 51"),
        (rows(shape=[1, 1, 2]), "expected shape [rows, 2]"),
        (rows(shape="12"), "expected shape a list"),
        (rows(datatype="FP128"), "expected datatype one of BOOL"),
        (rows(data=["70", 2.0]), "expected a number, or null where it is missing as element 0"),
        (rows(data=[True, 2.0]), "expected a number, or null where it is missing as element 0"),
        (rows(data=[[70.0], [2.0]]), "expected 1 rows, as its shape says, found a list of 2"),
        (rows(data=[[70.0]]), "expected lists of 2, as its shape says"),
        (rows(parameters={"shared_memory_region": "x"}), "shared memory, not offered here"),
        (rows(parameters={"binary_data_size": 8}), "expected either data or binary_data_size"),
        (bytes_of(8), "found 0 bytes that are left behind the JSON"),
        (bytes_of(-1), "expected binary_data_size a number of bytes"),
        ({**rows(), "outputs": [{"name": "loss"}]}, "expected the name of one of probabilities"),
        ({**rows(), "outputs": [{"name": "outcome"}] * 2}, "each once, found 'outcome'"),
        ({**rows(), "id": 7}, "id: expected a text, found 7"),
        ({**rows(), "parameters": {"lines": "a"}}, "lines: expected line"),
        ({**rows(), "parameters": {"observed_at": "noon"}}, "expected an RFC 3339 time"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_learned(running, body, said):
    before = running.client.model("press").seq
    reply = infer(running, json.dumps(body).encode())
    assert reply.status_code in (400, 413), reply.text
    assert list(reply.json()) == ["error"]
    assert said in reply.json()["error"]
    assert running.client.model("press").seq == before


FLOATS = struct.pack("<2f", 70, 2)


@pytest.mark.parametrize(
    ("header", "tail", "length", "said"),
    [
        (bytes_of(8), FLOATS[:-1], None, "found 7 bytes that are left"),
        (bytes_of(8), FLOATS + b"x", None, "expected 8 bytes of tensors behind the JSON"),
        (bytes_of(8, (2, 2)), FLOATS, None, "expected 4 elements of FP32, 16 bytes, found 8 bytes"),
        (bytes_of(8), FLOATS, b"9999", "Inference-Header-Content-Length a number up to"),
        (bytes_of(8), FLOATS, b"-1", "Inference-Header-Content-Length a number up to"),
        (bytes_of(8), FLOATS, b"12", "expected a JSON object"),
        ({}, b"x", b"0", "expected rows of 2 readings in FP32, 8 bytes each, found 3 bytes"),
    ],
)
def test_tensors_that_are_not_as_long_as_they_say_are_refused(running, header, tail, length, said):
    text = json.dumps(header).encode()
    sent = {"inference-header-content-length": (length or str(len(text)).encode()).decode()}
    reply = infer(running, text + tail, **sent)
    assert reply.status_code == 400
    assert said in reply.json()["error"]


def test_texts_that_are_not_as_long_as_they_say_are_refused(running):
    described = {"name": "label", "datatype": "BYTES", "shape": [1]}
    for data, said in [
        (struct.pack("<I", 2**32 - 1) + b"ok", "expected 4294967295 bytes of a text"),
        (b"\x02\x00", "expected 4 bytes of length"),
        (struct.pack("<I", 2) + b"\xff\xfe", "expected UTF-8"),
        ((struct.pack("<I", 2) + b"ok") * 2, "expected 1 texts, as its shape says, found 2"),
    ]:
        header = {"inputs": [ROWS, {**described, "parameters": {"binary_data_size": len(data)}}]}
        text = json.dumps(header).encode()
        sent = {"inference-header-content-length": str(len(text))}
        reply = infer(running, text + data, **sent)
        assert reply.status_code == 400
        assert said in reply.json()["error"]


def test_a_body_of_readings_alone_is_answered_in_tensors(running):
    reply = infer(running, FLOATS * 2, **{"inference-header-content-length": "0"})
    size = int(reply.headers["inference-header-content-length"])
    described = json.loads(reply.content[:size])["outputs"][0]
    assert (described["name"], described["shape"]) == ("probabilities", [2, 2])
    p = struct.unpack("<4f", reply.content[size : size + 16])
    assert p[0] + p[1] == pytest.approx(1)


def test_a_bomb_is_refused_before_it_is_unpacked(running):
    bomb = zlib.compress(b" " * 2_000_000)
    for path in ("v2/models/press/infer", "v1/models/press/batches"):
        headers = {"content-encoding": "deflate", "content-type": "application/json"}
        reply = httpx.post(f"{running.url}/{path}", content=bomb, headers=headers)
        assert reply.status_code == 413
        assert "at most 20000 bytes once unpacked" in reply.text
    for broken in (zlib.compress(b"{}")[:-3], zlib.compress(b"{}") + b"more"):
        reply = infer(running, broken, **{"content-encoding": "deflate"})
        assert reply.status_code == 400


def test_a_page_of_another_origin_cannot_ask(running):
    """It may leave the type out, but the browser names where it comes from."""
    body = json.dumps(rows()).encode()
    reply = infer(running, body, origin="http://evil.example")
    assert reply.status_code == 403
    assert "error" in reply.json()
    assert infer(running, body, **{"content-type": "text/plain"}).status_code == 415
