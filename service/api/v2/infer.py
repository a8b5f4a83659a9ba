"""Inference that also teaches, in the Open Inference Protocol v2.

A labelled request carries one tensor more, ``label``; a label alone is feedback for the batch that
the parameter ``batch_id`` names. Both end where the questions of `service.api.v1.lines` end.
"""

from __future__ import annotations

import difflib
import time
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from service.api import bodies
from service.api.asking import Reply, durable
from service.api.faults import bounded, few, said, unknown_sensor
from service.api.lines import Batch, Call, Headers, Late, Lines
from service.api.v2 import tensors
from service.api.v2.tensors import TEXT, Output, Tensor
from service.errors import Fault, InvalidRequest, MalformedBody
from service.rows import UNKNOWN, Labels
from service.schema import FAULTS_SHOWN, UNLISTED, Readings, Schema

ROWS = "rows"
LABEL = "label"
HEADER_LENGTH = b"inference-header-content-length"
PARAMETERS = ("batch_id", "line", "observed_at", "relabel", "binary_data_output")
"""Those that mean something here. Others are the affair of whoever reads them on the way."""

KEYS = ("id", "parameters", "inputs", "outputs")
PREDICTED = ("probabilities", "prediction")
TAUGHT = ("learned", "outcome")
FINITE = "a finite number, or NaN where it is missing"


class Request(NamedTuple):
    """A request that was understood; ``readings`` is None for feedback, ``labels`` where no tensor
    of labels came. ``wanted`` are the outputs asked for and whether each is binary."""

    id: str | None
    readings: Readings | None
    labels: Labels | None
    parameters: dict[str, Any]
    wanted: dict[str, bool | None] | None
    binary: bool


class Infer:
    """The question of the protocol; raises errors of `service.errors`."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    async def __call__(self, call: Call, data: bytes) -> Reply:
        engine, model = self._lines.engine, call.model
        schema, limit = engine.model(model).schema, engine.limits.rows_per_batch
        header, tail = _split(call.headers, data)
        if header is None:
            request = _raw(schema, tail, limit)
        else:
            request = _read(schema, await bodies.json_of(header), tail, limit)
        about = request.parameters
        batch_id, line = bodies.name(about, "batch_id"), bodies.name(about, "line")
        observed_at = bodies.instant(about, "observed_at")
        labels = request.labels
        if labels is not None:
            self._lines.teacher()
        known = labels if labels is not None and (labels != UNKNOWN).any() else None
        if request.readings is not None:
            batch = Batch(request.readings, known, batch_id, line, observed_at)
            answer = self._lines.batch(call, batch)
        else:
            if batch_id is None or known is None:
                expected = f"{ROWS}, or a tensor for each feature; or {LABEL} and batch_id"
                found = f"{LABEL} without batch_id" if batch_id is None else "no label known"
                raise InvalidRequest(Fault("inputs", expected, found))
            relabel = bodies.flag(about, "relabel")
            late = Late(batch_id, known, None, relabel, line, observed_at)
            answer = self._lines.late(call, late)
        said = await durable(answer)
        return _reply(model, engine.status(model), request, said, time.perf_counter())


def _split(headers: Headers, data: bytes) -> tuple[bytes | None, bytes]:
    """The JSON of a body, None where there is none, and what follows it."""
    length = headers.get(HEADER_LENGTH)
    if length is None:
        return data, b""
    if not (length.isdigit() and len(length) < 20 and int(length) <= len(data)):
        expected = f"Inference-Header-Content-Length a number up to the body's {len(data)} bytes"
        raise MalformedBody(Fault("body", expected, said(length.decode("latin-1"))))
    size = int(length)
    return (data[:size] if size else None), data[size:]


def _raw(schema: Schema, data: bytes, limit: int) -> Request:
    """A body that is the readings of some rows, FP32, and nothing else."""
    width = len(schema.sensors)
    if not data or len(data) % (4 * width):
        expected = f"rows of {width} readings in FP32, {4 * width} bytes each"
        raise InvalidRequest(Fault("body", expected, f"{len(data)} bytes"))
    bounded(ROWS, len(data) // (4 * width), limit)
    matrix = np.frombuffer(data, "<f4").reshape(-1, width).astype(np.float64)
    return Request(None, _ranged(schema, matrix), None, {}, None, True)


def _read(schema: Schema, header: dict[str, Any], tail: bytes, limit: int) -> Request:
    parameters = header.get("parameters")
    parameters = {} if parameters is None else parameters
    if not isinstance(parameters, dict):
        raise InvalidRequest(Fault("parameters", "an object", said(parameters)))
    _spelt(header, KEYS)
    _spelt(parameters, PARAMETERS)
    id_ = header.get("id")
    if id_ is not None and not isinstance(id_, str):
        raise InvalidRequest(Fault("id", "a text", said(id_)))
    given = {t.name: t for t in tensors.read(header.get("inputs"), tail, len(schema.sensors) + 2)}
    label = given.pop(LABEL, None)
    readings = _readings(schema, given, limit) if given else None
    labels = None
    if label is not None:
        labels = _labels(schema, label, None if readings is None else len(readings.rows), limit)
    offered = TAUGHT if readings is None else (*PREDICTED, *TAUGHT)
    wanted = _wanted(header.get("outputs"), offered)
    binary = bodies.flag(parameters, "binary_data_output")
    return Request(id_, readings, labels, parameters, wanted, binary)


def _spelt(given: dict[str, Any], ours: tuple[str, ...]) -> None:
    """What is nearly one of our names must not be passed over: ``batchid`` would lose a batch's
    identity silently."""
    for key in given:
        near = [] if key in ours else difflib.get_close_matches(key[:80], ours, 1, 0.75)
        if near:
            raise InvalidRequest(Fault(key[:80], f"{near[0]}, if that is meant", "another name"))


def _readings(schema: Schema, given: dict[str, Tensor], limit: int) -> Readings:
    """Rows from one tensor of all features, or from one for each."""
    width = len(schema.sensors)
    if ROWS in given:
        tensor = given[ROWS]
        if len(given) > 1:
            other = next(name for name in given if name != ROWS)
            raise InvalidRequest(Fault(other, f"no readings beside {ROWS}", "a tensor"))
        if len(tensor.shape) != 2 or tensor.shape[1] != width:
            expected = f"shape [rows, {width}], the features in the order of the model's metadata"
            raise InvalidRequest(Fault(ROWS, expected, f"{list(tensor.shape)}"))
        bounded(ROWS, tensor.shape[0], limit)
        return _ranged(schema, _numbers(tensor).reshape(tensor.shape))
    count: int | None = None
    for name, tensor in given.items():
        if schema.column(name) is None:
            raise InvalidRequest(unknown_sensor(schema, name, None))
        rows = _column(tensor)
        bounded(name, rows, limit)
        if count is not None and rows != count:
            expected = f"{count} readings, as in the tensors before it"
            raise InvalidRequest(Fault(name, expected, f"{rows}"))
        count = rows
    assert count is not None
    matrix = np.full((count, width), np.nan)
    for name, tensor in given.items():
        column = schema.column(name)
        assert column is not None
        texts = isinstance(tensor.values, list) and column in schema.categories
        matrix[:, column] = _indices(schema, column, tensor) if texts else _numbers(tensor)
    return _ranged(schema, matrix)


def _indices(schema: Schema, column: int, tensor: Tensor) -> NDArray[np.float64]:
    """Of a category's values; an empty text is missing."""
    index, sensor = schema.categories[column], schema.sensors[column]
    found = [index.get(value, UNLISTED) for value in tensor.values]
    if sensor.out_of_range == "reject" and UNLISTED in found:
        row = found.index(UNLISTED)
        expected = f"one of {few(sensor.values)}, or an empty text where it is missing"
        raise InvalidRequest(Fault(sensor.name, expected, said(tensor.values[row]), row))
    return np.array(found, np.float64)


def _numbers(tensor: Tensor) -> NDArray[np.float64]:
    if isinstance(tensor.values, list):
        expected = "a datatype of numbers, such as FP32"
        raise InvalidRequest(Fault(tensor.name, expected, tensor.datatype))
    return tensor.values.astype(np.float64)


def _ranged(schema: Schema, matrix: NDArray[np.float64]) -> Readings:
    faults = [
        Fault(schema.sensors[c].name, FINITE, "infinity", int(r))
        for r, c in np.argwhere(np.isinf(matrix))[:FAULTS_SHOWN]
    ]
    if faults:
        raise InvalidRequest(*faults)
    return schema.ranged(matrix)


def _column(tensor: Tensor) -> int:
    """How many rows a tensor of one value a row has."""
    rows, *more = tensor.shape
    if more not in ([], [1]):
        raise InvalidRequest(
            Fault(tensor.name, "shape [rows] or [rows, 1]", f"{list(tensor.shape)}")
        )
    return rows


def _labels(schema: Schema, tensor: Tensor, rows: int | None, limit: int) -> Labels:
    count = _column(tensor)
    if rows is not None and count != rows:
        raise InvalidRequest(Fault(LABEL, f"{rows} labels, one per row", f"{count}"))
    bounded(LABEL, count, limit)
    values, classes = tensor.values, schema.classes
    if isinstance(values, list):
        index = {"": UNKNOWN, **{name: i for i, name in enumerate(classes)}}
        found = [index.get(value) for value in values]
        wrong = [i for i, value in enumerate(found) if value is None]
        expected = f"one of {few(classes)}, or an empty text where it is unknown"
    elif tensor.datatype.startswith(("INT", "UINT")):
        found = values.tolist()
        wrong = [i for i, value in enumerate(found) if not UNKNOWN <= value < len(classes)]
        expected = f"an index from 0 to {len(classes) - 1}, or -1 where it is unknown"
    else:
        expected = f"INT64, the index of a class, or {TEXT}, its name"
        raise InvalidRequest(Fault(LABEL, expected, tensor.datatype))
    if wrong:
        raise InvalidRequest(
            *(Fault(LABEL, expected, said(values[i]), i) for i in wrong[:FAULTS_SHOWN])
        )
    return np.array(found, np.int64)


def _wanted(outputs: Any, offered: tuple[str, ...]) -> dict[str, bool | None] | None:
    """The outputs that are asked for, and of each whether it is to be binary, where it says so."""
    if outputs is None or outputs == []:
        return None
    if not isinstance(outputs, list) or len(outputs) > len(offered):
        expected = f"a list of some of {', '.join(offered)}, each once"
        raise InvalidRequest(Fault("outputs", expected, said(outputs)))
    wanted: dict[str, bool | None] = {}
    for index, output in enumerate(outputs):
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in offered or name in wanted:
            expected = f"the name of one of {', '.join(offered)}, each once"
            raise InvalidRequest(Fault(f"outputs[{index}]", expected, said(name)))
        parameters = output.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise InvalidRequest(Fault(name, "parameters an object", said(parameters)))
        if parameters.get("classification"):
            raise InvalidRequest(Fault(name, "no classification, not offered here", "one"))
        binary = parameters.get("binary_data")
        if binary is not None and not isinstance(binary, bool):
            raise InvalidRequest(Fault(name, "binary_data true or false", said(binary)))
        wanted[name] = binary
    return wanted


def _reply(model: str, status: str, request: Request, answer: bytes, answered: float) -> Reply:
    """The protocol's reply from that of `service.answers`."""
    found = orjson.loads(answer)
    by, learned = found["answered_by"], found["learned"]
    outcomes = found.get("outcomes") or ["unlabelled"] * len(learned)
    outputs = {
        "learned": Output("BOOL", np.array(learned, np.bool_)[:, None]),
        "outcome": Output(TEXT, outcomes),
    }
    names: tuple[str, ...] = TAUGHT
    if request.readings is not None:
        outputs["probabilities"] = Output("FP32", np.array(found["probabilities"], np.float32))
        outputs["prediction"] = Output(TEXT, found["predictions"])
        names = PREDICTED if request.labels is None else (*PREDICTED, *TAUGHT)
    wanted = request.wanted or dict.fromkeys(names)
    document: dict[str, Any] = {
        "model_name": model,
        "model_version": "live" if by["role"] == "learner" else str(by["snapshot"]),
        "parameters": {**by, "status": status, "batch_id": found["batch_id"]},
        "outputs": [],
    }
    if "replaced" in found:
        for kind, counts in found["replaced"].items():
            document["parameters"][kind] = sum(counts.values())
    if found["batch_id"] is None:
        del document["parameters"]["batch_id"]
    if request.id is not None:
        document["id"] = request.id
    tail = []
    for name, binary in wanted.items():
        as_bytes = request.binary if binary is None else binary
        described, data = tensors.write(name, outputs[name], as_bytes)
        document["outputs"].append(described)
        tail.append(data)
    head = tensors.packed(document)
    if not any("parameters" in described for described in document["outputs"]):
        return Reply(head, answered)
    length = (HEADER_LENGTH, b"%d" % len(head))
    return Reply(head + b"".join(tail), answered, b"application/octet-stream", (length,))
