"""Tensors of the Open Inference Protocol v2, as JSON and in its binary extension.

Source: kserve/open-inference-protocol, *inference_rest.md* (tensor data, datatypes), and Triton's
*Binary Tensor Data Extension*, which writes a tensor behind the JSON in row-major order and little
endian, an element of BYTES as its length in 4 bytes and then itself.

Nothing is allocated by what a shape says before the data was found to be as long.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from service.api.bodies import LONGEST_NAME
from service.api.faults import said
from service.errors import Fault, InvalidRequest

NUMBERS = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""Datatypes of fixed size, and how numpy calls them."""

TEXT = "BYTES"
MOST_DIMENSIONS = 4
SIZE = "binary_data_size"


class Tensor(NamedTuple):
    """One input: ``values`` are its elements in row-major order, (count,) of its datatype, or as
    many texts. A null in JSON is NaN."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: NDArray[Any] | list[str]


class Output(NamedTuple):
    """One output, before it is written; ``values`` has the tensor's shape, or is (B, 1) texts."""

    datatype: str
    values: NDArray[Any] | list[str]


def read(inputs: Any, tail: bytes, most: int) -> list[Tensor]:
    """The input tensors of a request.

    Parameters
    ----------
    inputs
        As the JSON has them.
    tail
        What follows the JSON: the data of those that have a ``binary_data_size``.
    most
        So many tensors may there be.

    Raises
    ------
    InvalidRequest
        Naming the tensor, what was expected of it and what was found.
    """
    if not isinstance(inputs, list) or not inputs:
        found = "none" if not inputs and inputs in (None, []) else said(inputs)
        raise InvalidRequest(Fault("inputs", "a list of tensors", found))
    if len(inputs) > most:
        raise InvalidRequest(Fault("inputs", f"at most {most} tensors", f"{len(inputs)}"))
    tensors: dict[str, Tensor] = {}
    start = 0
    for index, given in enumerate(inputs):
        name, datatype, shape = _described(given, index)
        if name in tensors:
            raise InvalidRequest(Fault(name, "each tensor once", "it stands there twice"))
        size = _size(given, name)
        if size is None:
            values = _from_json(given.get("data"), name, datatype, shape)
        else:
            if "data" in given:
                raise InvalidRequest(Fault(name, f"either data or {SIZE}", "both"))
            if size > len(tail) - start:
                found = f"{len(tail) - start} bytes that are left behind the JSON"
                raise InvalidRequest(Fault(name, f"{size} bytes, as its {SIZE} says", found))
            values = _from_bytes(tail[start : start + size], name, datatype, shape)
            start += size
        tensors[name] = Tensor(name, datatype, shape, values)
    if start != len(tail):
        found = f"{len(tail) - start} bytes more"
        raise InvalidRequest(Fault("body", f"{start} bytes of tensors behind the JSON", found))
    return list(tensors.values())


def write(name: str, output: Output, binary: bool) -> tuple[dict[str, Any], bytes]:
    """An output as the JSON has it, and the bytes that follow the JSON."""
    values = output.values
    shape = list(values.shape) if isinstance(values, np.ndarray) else [len(values), 1]
    document: dict[str, Any] = {"name": name, "datatype": output.datatype, "shape": shape}
    if not binary:
        flat = np.ascontiguousarray(values).ravel() if isinstance(values, np.ndarray) else values
        return {**document, "data": flat}, b""
    if isinstance(values, np.ndarray):
        data = values.astype(NUMBERS[output.datatype]).tobytes()
    else:
        data = b"".join(struct.pack("<I", len(b)) + b for b in (v.encode() for v in values))
    return {**document, "parameters": {SIZE: len(data)}}, data


def packed(document: dict[str, Any]) -> bytes:
    """JSON, arrays and all."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _described(given: Any, index: int) -> tuple[str, str, tuple[int, ...]]:
    field = f"inputs[{index}]"
    if not isinstance(given, dict):
        raise InvalidRequest(Fault(field, "an object that describes a tensor", said(given)))
    name = given.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME:
        raise InvalidRequest(
            Fault(f"{field}.name", f"a text of 1 to {LONGEST_NAME} characters", said(name))
        )
    datatype = given.get("datatype")
    if not isinstance(datatype, str) or (datatype != TEXT and datatype not in NUMBERS):
        expected = f"datatype one of {', '.join((*NUMBERS, TEXT))}"
        raise InvalidRequest(Fault(name, expected, said(datatype)))
    shape = given.get("shape")
    if (
        not isinstance(shape, list)
        or not 1 <= len(shape) <= MOST_DIMENSIONS
        or not all(type(size) is int and size >= 0 for size in shape)
    ):
        expected = f"shape a list of 1 to {MOST_DIMENSIONS} whole numbers, none below 0"
        found = repr(shape)[:60] if isinstance(shape, list) else said(shape)
        raise InvalidRequest(Fault(name, expected, found))
    return name, datatype, tuple(shape)


def _size(given: dict[str, Any], name: str) -> int | None:
    parameters = given.get("parameters")
    if parameters is None:
        return None
    if not isinstance(parameters, dict):
        raise InvalidRequest(Fault(name, "parameters an object", said(parameters)))
    if "shared_memory_region" in parameters:
        raise InvalidRequest(Fault(name, "data or binary data", "shared memory, not offered here"))
    size = parameters.get(SIZE)
    if size is not None and (type(size) is not int or size < 0):
        raise InvalidRequest(Fault(name, f"{SIZE} a number of bytes", said(size)))
    return size


def _from_bytes(
    data: bytes, name: str, datatype: str, shape: Sequence[int]
) -> NDArray[Any] | list[str]:
    count = math.prod(shape)
    if datatype == TEXT:
        return _texts(data, name, count)
    kind = np.dtype(NUMBERS[datatype])
    if len(data) != count * kind.itemsize:
        expected = f"{count} elements of {datatype}, {count * kind.itemsize} bytes"
        raise InvalidRequest(Fault(name, expected, f"{len(data)} bytes"))
    if datatype == "BOOL":
        return np.frombuffer(data, np.uint8).astype(np.bool_)
    return np.frombuffer(data, kind)


def _texts(data: bytes, name: str, count: int) -> list[str]:
    found, start = list[str](), 0
    while start < len(data):
        if len(data) - start < 4:
            raise InvalidRequest(
                Fault(name, "4 bytes of length, then a text", "an end too early", len(found))
            )
        (length,) = struct.unpack_from("<I", data, start)
        start += 4
        if length > len(data) - start:
            left = f"{len(data) - start}"
            raise InvalidRequest(Fault(name, f"{length} bytes of a text", left, len(found)))
        try:
            found.append(data[start : start + length].decode())
        except UnicodeDecodeError:
            raise InvalidRequest(Fault(name, "UTF-8", "other bytes", len(found))) from None
        start += length
    if len(found) != count:
        raise InvalidRequest(Fault(name, f"{count} texts, as its shape says", f"{len(found)}"))
    return found


def _from_json(
    data: Any, name: str, datatype: str, shape: tuple[int, ...]
) -> NDArray[Any] | list[str]:
    if not isinstance(data, list):
        raise InvalidRequest(Fault(name, "data a list", said(data)))
    values = _flat(data, name, shape)
    if datatype == TEXT:
        _all_are(values, name, (str,), "a text")
        return values
    if datatype == "BOOL":
        _all_are(values, name, (bool, int, float), "true or false", lambda v: v in (0, 1))
    elif datatype.startswith("FP"):
        _all_are(values, name, (float, int, NoneType), "a number, or null where it is missing")
    else:
        # JSON has one kind of numbers, and some clients write each of them with a point.
        _all_are(values, name, (int, float), "a whole number", _whole)
        values = list(map(int, values))
    try:
        # FP16 and FP32 are rounded where readings are, once.
        kind = np.float64 if datatype.startswith("FP") else np.dtype(NUMBERS[datatype])
        return np.array(values, kind)
    except OverflowError:
        raise InvalidRequest(Fault(name, f"numbers that {datatype} can hold", "others")) from None


def _flat(data: list[Any], name: str, shape: tuple[int, ...]) -> list[Any]:
    """The elements of data that is flat already, or nested as its shape says."""
    count, values = math.prod(shape), data
    if len(shape) > 1 and data and isinstance(data[0], list):
        if len(data) != shape[0]:
            raise InvalidRequest(Fault(name, f"{shape[0]} rows, as its shape says", said(data)))
        for size in shape[1:]:
            wrong = next(
                (v for v in values if not isinstance(v, list) or len(v) != size),
                None,
            )
            if wrong is not None or None in values:
                expected = f"lists of {size}, as its shape says, or a flat list"
                raise InvalidRequest(Fault(name, expected, said(wrong)))
            values = list(itertools.chain.from_iterable(values))
    if len(values) != count:
        raise InvalidRequest(Fault(name, f"{count} elements, as its shape says", f"{len(values)}"))
    return values


def _whole(value: float) -> bool:
    return isinstance(value, int) or value.is_integer()


def _all_are(
    values: list[Any],
    name: str,
    kinds: tuple[type, ...],
    expected: str,
    fits: Callable[[Any], bool] = lambda value: True,
) -> None:
    found = {*map(type, values)}
    if found <= {kinds[0]}:
        return
    for index, value in enumerate(values):
        if type(value) not in kinds or not fits(value):
            raise InvalidRequest(Fault(name, f"{expected} as element {index}", said(value)))
