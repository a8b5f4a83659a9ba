"""Bodies of the inference protocol, right ones and what becomes of them on a bad day."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

HEADER = "inference-header-content-length"
TYPES = ["BOOL", "UINT8", "UINT64", "INT8", "INT64", "FP16", "FP32", "FP64", "BYTES", "BF16"]
ODD_TYPES = [*TYPES, "", "fp32", "FP128", "STRING", None, 32, ["FP32"], {"FP32": 1}]
ODD_SHAPES: list[Any] = [
    [16, 2**60 + 2], [2, -5], [0, 2], [2, 0], [-1, 2], [], [2], [1, 1, 2], [2**31, 2], [2**63, 2],
    [2**64, 1], [1e3, 2], [1.5, 2], ["1", 2], [None, 2], [True, 2], "12", None, 7, {}, [[1], 2],
    [1] * 400, [10**30, 10**30],
]  # fmt: skip
ODD_VALUES: list[Any] = [
    None, True, False, "", "x", "NaN", [], {}, [[]], [1, [2]], -1, 0, 2**31, 2**63, 2**64, 10**400,
    1e308, -1e308, 5e-324, 1.5, "\u0000", "\ud800", "é" * 300, [None] * 50, {"a": {"b": []}},
]  # fmt: skip


class Sent(NamedTuple):
    """A request's body, in pieces, and its headers beside the key."""

    pieces: list[bytes]
    headers: dict[str, str]

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


def mutations(seed: int, count: int) -> Iterator[Sent]:
    """So many requests, each a right one changed once or several times; the same for one seed."""
    draw = random.Random(seed)
    for _ in range(count):
        sent = right(draw)
        for _ in range(draw.choice([1, 1, 1, 2, 2, 3])):
            sent = draw.choice(CHANGES)(draw, sent)
        yield sent


def right(draw: random.Random) -> Sent:
    """Rows, labels or both, in JSON or in bytes."""
    rows = draw.choice([1, 1, 2, 5, 20])
    tensors: list[dict[str, Any]] = []
    tail = b""
    as_bytes = draw.random() < 0.5
    values = [round(draw.uniform(-30, 160), 2) for _ in range(2 * rows)]
    described: dict[str, Any] = {"name": "rows", "datatype": "FP32", "shape": [rows, 2]}
    if draw.random() < 0.2:
        described["parameters"] = {}
    if as_bytes:
        tail = struct.pack(f"<{2 * rows}f", *values)
        described["parameters"] = {"binary_data_size": len(tail)}
    else:
        described["data"] = values
    tensors.append(described)
    if draw.random() < 0.4:
        label: dict[str, Any] = {"name": "label", "datatype": "INT64", "shape": [rows]}
        indices = [draw.choice([-1, 0, 1]) for _ in range(rows)]
        if as_bytes:
            packed = struct.pack(f"<{rows}q", *indices)
            label["parameters"] = {"binary_data_size": len(packed)}
            tail += packed
        else:
            label["data"] = indices
        tensors.append(label)
    request: dict[str, Any] = {"inputs": tensors}
    if draw.random() < 0.3:
        request["id"] = f"r{draw.randrange(100)}"
    if draw.random() < 0.3:
        request["parameters"] = {"batch_id": f"b{draw.randrange(10**6)}", "line": "L1"}
    if draw.random() < 0.3:
        request["outputs"] = [{"name": "probabilities", "parameters": {"binary_data": True}}]
    return _sent(request, tail)


def _sent(request: Any, tail: bytes) -> Sent:
    head = json.dumps(request).encode()
    return Sent([head + tail], {HEADER: str(len(head))} if tail else {})


def _parts(sent: Sent) -> tuple[Any, bytes] | None:
    """The JSON and what follows it; None where there is none any more."""
    body, length = sent.body, sent.headers.get(HEADER)
    size = int(length) if length is not None and length.isdigit() else len(body)
    try:
        return json.loads(body[:size]), body[size:]
    except (ValueError, RecursionError):
        return None


def _changed(change: Callable[[random.Random, Any], Any]) -> Callable[[random.Random, Sent], Sent]:
    """A change of the JSON."""

    def changed(draw: random.Random, sent: Sent) -> Sent:
        parts = _parts(sent)
        if parts is None or not isinstance(parts[0], dict):
            return sent
        request, tail = parts
        return _sent(change(draw, request), tail)

    return changed


def _tensor(draw: random.Random, request: Any) -> dict[str, Any]:
    found = request.get("inputs")
    tensors = [t for t in found if isinstance(t, dict)] if isinstance(found, list) else []
    return draw.choice(tensors) if tensors else {}


def _shape(draw: random.Random, request: Any) -> Any:
    _tensor(draw, request)["shape"] = draw.choice(ODD_SHAPES)
    return request


def _datatype(draw: random.Random, request: Any) -> Any:
    _tensor(draw, request)["datatype"] = draw.choice(ODD_TYPES)
    return request


def _size(draw: random.Random, request: Any) -> Any:
    odd = [-1, 0, 1, 7, 2**31, 2**63, 2**64, 10**30, 1.5, "8", None, True, []]
    _tensor(draw, request)["parameters"] = {"binary_data_size": draw.choice(odd)}
    return request


def _data(draw: random.Random, request: Any) -> Any:
    tensor = _tensor(draw, request)
    data = tensor.get("data")
    if isinstance(data, list) and data and draw.random() < 0.6:
        data[draw.randrange(len(data))] = draw.choice(ODD_VALUES)
    else:
        tensor["data"] = draw.choice(ODD_VALUES)
    return request


def _key(draw: random.Random, request: Any) -> Any:
    """Another value, another key or one less, somewhere."""
    at = draw.choice([request, _tensor(draw, request), request.get("parameters") or request])
    if not isinstance(at, dict) or not at:
        return request
    name = draw.choice(list(at))
    how = draw.random()
    if how < 0.4:
        at[name] = draw.choice(ODD_VALUES)
    elif how < 0.7:
        del at[name]
    else:
        at[f"{name}{draw.choice(['', 's', '_', ' '])}x"] = at.get(name)
    return request


def _more(draw: random.Random, request: Any) -> Any:
    """The same tensor twice, hundreds, or outputs that there are not."""
    found = request.get("inputs")
    if isinstance(found, list) and found and draw.random() < 0.6:
        request["inputs"] = found * draw.choice([2, 3, 400])
    else:
        names = ["probabilities", "nothing", "", "label", 7, None]
        request["outputs"] = [{"name": draw.choice(names)} for _ in range(draw.choice([1, 2, 300]))]
    return request


def _truncated(draw: random.Random, sent: Sent) -> Sent:
    body = sent.body
    return Sent([body[: draw.randrange(len(body) + 1)]], sent.headers)


def _flipped(draw: random.Random, sent: Sent) -> Sent:
    body = bytearray(sent.body)
    for _ in range(draw.choice([1, 1, 2, 8])):
        if body:
            body[draw.randrange(len(body))] ^= 1 << draw.randrange(8)
    return Sent([bytes(body)], sent.headers)


def _inserted(draw: random.Random, sent: Sent) -> Sent:
    body, at = sent.body, draw.randrange(len(sent.body) + 1)
    odd = [b"\0", b"\xff\xfe", b"[" * 120, b'{"a":' * 120, b"NaN", b"1e999", b"\xed\xa0\x80", body]
    return Sent([body[:at] + draw.choice(odd) + body[at:]], sent.headers)


def _length(draw: random.Random, sent: Sent) -> Sent:
    """What the header says of the JSON's length."""
    size = len(sent.body)
    odd = ["0", "-1", "1", str(size), str(size + 1), str(2**63), "9" * 40, "1e3", "", " 5", "x"]
    return Sent(sent.pieces, {**sent.headers, HEADER: draw.choice(odd)})


def _headless(draw: random.Random, sent: Sent) -> Sent:
    return Sent(sent.pieces, {k: v for k, v in sent.headers.items() if k != HEADER})


def _packed(draw: random.Random, sent: Sent) -> Sent:
    """Said to be packed, and is not."""
    return Sent(sent.pieces, {**sent.headers, "content-encoding": draw.choice(["gzip", "deflate"])})


def _chunked(draw: random.Random, sent: Sent) -> Sent:
    body, size = sent.body, draw.choice([1, 6, 100])
    return Sent([body[at : at + size] for at in range(0, len(body), size)] or [b""], sent.headers)


CHANGES: list[Callable[[random.Random, Sent], Sent]] = [
    *(_changed(c) for c in (_shape, _datatype, _size, _data, _key, _more)),
    *(_truncated, _flipped, _inserted, _length, _headless, _packed, _chunked),
]


def large() -> Iterator[Sent]:
    """What is sent to fill a memory: deep JSON, small pieces of much, many of little."""
    yield Sent([b"[" * 100_000], {})
    yield Sent([b'{"inputs":' * 100_000], {})
    yield Sent([b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}"], {})
    three = json.dumps({"inputs": [{"name": "x" * 3_000_000}]}).encode()
    yield Sent([three[at : at + 6] for at in range(0, len(three), 6)], {})
    yield Sent([b"0" * 6 for _ in range(500_000)], {HEADER: "0"})
    yield Sent([json.dumps({"inputs": [{}] * 300_000}).encode()], {})
    yield Sent([json.dumps({"inputs": [{"data": [[1]] * 200_000}]}).encode()], {})
    yield Sent([b'{"id": "' + b"x" * 15_000_000 + b'"}'], {})
    yield Sent([b"{" + b",".join(b'"%d":0' % k for k in range(400_000)) + b"}"], {})
    yield Sent([b"1" * 5_000_000], {})
