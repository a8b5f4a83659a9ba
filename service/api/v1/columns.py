"""Columns of numbers, read from JSON into an array without a Python object for each of them.

simdjson gives the numbers of a list as doubles, one behind the other. What it says otherwise than
the reader of all other bodies is left to that one: lists in lists, which it would lay flat, a key
that stands twice, of which it takes the first, and everything that is no number.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from service.api.bodies import LARGE_BYTES, parse

KEY = b'"columns"'

FEWEST_BYTES = 2048
"""Of a smaller body the other reader makes as little work."""

MOST_COLUMNS = 1024
"""Each is looked up by its name among all before it."""


class Columns(NamedTuple):
    """The ``columns`` of a body, all of equal length, at least one number in each.

    Parameters
    ----------
    names
        As sent, in the order of the rows of ``numbers``.
    numbers
        (n, B), all finite.
    data
        The body.
    """

    names: tuple[str, ...]
    numbers: NDArray[np.float64]
    data: bytes

    def lists(self) -> dict[str, list[Any]]:
        """What was sent, for those who have to tell what is wrong with it."""
        found: dict[str, list[Any]] = orjson.loads(self.data)["columns"]
        return found


class _Parsers(threading.local):
    """Each thread's own: one that has read something needs no new memory."""

    def __init__(self) -> None:
        self.small = simdjson.Parser()


_parsers = _Parsers()


def read(data: bytes) -> dict[str, Any]:
    """A body as `service.api.bodies.parse` gives it, and with the same errors, but that
    ``columns`` which hold numbers alone are `Columns`."""
    if len(data) >= FEWEST_BYTES and data[:1] == b"{" and KEY in data:
        found = _read(data)
        if found is not None:
            return found
    return parse(data)


def _read(data: bytes) -> dict[str, Any] | None:
    # What a large body takes is given back with it.
    parser = _parsers.small if len(data) < LARGE_BYTES else simdjson.Parser()
    try:
        return _of(parser.parse(data), data)
    # Not JSON, as strictly as it is meant; or other than numbers in a list.
    except (ValueError, TypeError, RuntimeError):
        return None


def _of(document: object, data: bytes) -> dict[str, Any] | None:
    if not isinstance(document, simdjson.Object):
        return None
    keys = list(document)
    if len(set(keys)) < len(keys) or "columns" not in keys:
        return None
    columns = document["columns"]
    if not isinstance(columns, simdjson.Object):
        return None
    names = list(columns)
    if not 0 < len(set(names)) == len(names) <= MOST_COLUMNS:
        return None
    lists = [each for each in map(columns.__getitem__, names) if isinstance(each, simdjson.Array)]
    if len(lists) < len(names) or len(set(map(len, lists))) > 1:
        return None
    body: dict[str, Any] = {}
    others = 0
    for key in keys:
        value: Any = document[key]
        if isinstance(value, simdjson.Object):
            value = None if key == "columns" else value.as_dict()
        elif isinstance(value, simdjson.Array):
            others += 1
            value = value.as_list()
        body[key] = value
    # No list in another; a bracket in a string only sends a body to the other reader.
    brackets = np.count_nonzero(np.frombuffer(data, np.uint8) == ord("["))
    if brackets != len(names) + others:
        return None
    numbers = np.frombuffer(b"".join([each.as_buffer(of_type="d") for each in lists]))
    if not len(numbers):
        return None
    body["columns"] = Columns(tuple(names), numbers.reshape(len(names), -1), data)
    return body
