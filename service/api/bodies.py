"""Reading request bodies: bounded, and with errors that say what is wrong where."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import orjson
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive

from service.errors import Fault, InvalidRequest, MalformedBody, Overloaded, TooLarge

LEAP = re.compile(r"^(\d{4}-\d\d-\d\d[T ]\d\d:59:)60")
LONGEST_NAME = 200
SLOWEST_BODY_S = 30.0
SMALL_BYTES = 64 * 1024
HERE = "apical.here"
"""In a request's scope: all of a small body, by a server that had it before the application asked
for any of it. Nobody waits for it, so it needs no deadline, which costs more than to read it."""

LARGE_BYTES = 256 * 1024
"""From here on a body is read beside the loop."""

MOST_PACKED = 1032
"""How many bytes deflate makes of one, at most (zlib.net, technical details)."""

MOST_CONTAINERS = 50_000
"""Lists and objects of one body: rows, or ranges and ids of a selection."""

MOST_VALUES = 10_000
"""Of a list of names or ranges that operators give."""


async def json_object(request: Request, limit: int, *, strict: bool = False) -> dict[str, Any]:
    """The body as a JSON object of at most ``limit`` bytes; ``strict`` refuses a key that stands
    twice, which costs too much where rows are read.

    Raises
    ------
    MalformedBody, TooLarge
    """
    headers = dict(request.scope["headers"])
    arriving = request.app.state.arriving
    data = await received(headers, request.receive, limit, arriving)
    if strict:
        shaped(data)
        once(data)
    return await json_of(data)


async def received(
    headers: Mapping[bytes, bytes],
    receive: Receive,
    limit: int,
    arriving: Arriving,
    here: bytes | None = None,
) -> bytes:
    """All of a body as it was before it was packed, of at most ``limit`` bytes, packed or not;
    ``here`` as in `HERE`.

    Raises
    ------
    MalformedBody, TooLarge, Overloaded
    """
    if here is None:
        data = await whole(headers.get(b"content-length"), receive, limit, arriving)
    elif len(here) > limit:
        raise TooLarge(Fault("body", f"at most {limit} bytes", f"{len(here)}"))
    else:
        data = here
    if headers.get(b"content-encoding", b"identity").lower() == b"identity":
        return data
    # As many bytes as it may become, while it does: bombs at once must not add up.
    most = min(limit, MOST_PACKED * len(data))
    try:
        arriving.hold(most, most)
        return await run_in_threadpool(unpacked, data, limit)
    finally:
        arriving.let_go(most)


def unpacked(data: bytes, limit: int) -> bytes:
    """A body that was packed by gzip or deflate (RFC 1950); raises MalformedBody, and TooLarge
    before more than ``limit`` bytes are in memory."""
    # 32 more than the window's bits: either format, told by its head.
    packed = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)
    try:
        found = packed.decompress(data, limit + 1)
    except zlib.error as error:
        raise MalformedBody(Fault("body", "gzip or deflate", str(error))) from None
    if len(found) > limit:
        raise TooLarge(Fault("body", f"at most {limit} bytes once unpacked", "more"))
    if not packed.eof or packed.unused_data:
        where = "an end too early" if not packed.eof else "bytes behind its end"
        raise MalformedBody(Fault("body", "one whole gzip or deflate stream", where))
    return found


async def whole(declared: bytes | None, receive: Receive, limit: int, arriving: Arriving) -> bytes:
    """All of a body, of at most ``limit`` bytes; ``declared`` is its Content-Length.

    Raises
    ------
    MalformedBody, TooLarge, Overloaded
    """
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise TooLarge(Fault("body", f"at most {limit} bytes", declared.decode()))
    # Not a list of them: a body in pieces of a few bytes would take many times its size.
    first, body, size, more = b"", bytearray(), 0, True
    try:
        async with asyncio.timeout(SLOWEST_BODY_S):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    # Nobody reads the answer; it is for the count of requests by status.
                    found = f"{size} bytes, then the end"
                    raise MalformedBody(Fault("body", "all of it", found))
                chunk, more = message.get("body", b""), message.get("more_body", False)
                size += len(chunk)
                if size > limit:
                    raise TooLarge(Fault("body", f"at most {limit} bytes", f"more than {limit}"))
                arriving.hold(size, len(chunk))
                if size == len(chunk) and not more:
                    first = chunk
                else:
                    body += chunk
    except TimeoutError:
        raise MalformedBody(
            Fault("body", f"all of it within {SLOWEST_BODY_S:g} s", f"{size} bytes")
        ) from None
    finally:
        arriving.let_go(size)
    return bytes(body) if body else first


class Arriving:
    """The bytes of all bodies that are on their way: a process holds no more of them than this."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0

    def hold(self, size: int, more: int) -> None:
        """Of a body that has ``size`` bytes by now, ``more`` of them new; raises Overloaded. Small
        ones pass always: large ones that never end must not keep a line from sending its rows."""
        if size > SMALL_BYTES and self._bytes + more > self._limit:
            self._bytes += more
            raise Overloaded(f"bodies of {self._limit} bytes are on their way already")
        self._bytes += more

    def let_go(self, size: int) -> None:
        """A body is whole, or given up."""
        self._bytes -= size


def shaped(data: bytes) -> None:
    """Refuse by its shape what nobody needs to send, before it costs anything to read: a reader of
    JSON makes an object of every pair of brackets, and holds up everybody while it does.

    Raises
    ------
    TooLarge
    """
    if len(data) < 2 * MOST_CONTAINERS:
        return
    # The two kinds differ in one bit; `bytes.count` would take a fifth of what reading takes.
    found = int(np.count_nonzero((np.frombuffer(data, np.uint8) & 0xDF) == ord("[")))
    if found > MOST_CONTAINERS:
        raise TooLarge(
            Fault("body", f"at most {MOST_CONTAINERS} lists and objects", f"{found} brackets")
        )


def once(data: bytes) -> None:
    """Raises MalformedBody where a key stands twice: readers do not agree on which of them counts.
    Other faults are `parse`'s to tell."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in found]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise MalformedBody(Fault(twice[:80], "each key once", "it stands there twice"))
        return dict(found)

    with contextlib.suppress(ValueError, RecursionError):
        json.loads(data, object_pairs_hook=pairs)


def parse(data: bytes) -> dict[str, Any]:
    """A JSON object; NaN and Infinity, which JSON does not have, pass as floats so that the check
    of the readings can name their row and sensor."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as strict:
        try:
            value = json.loads(data)
            # A lone surrogate can be escaped in JSON but stored nowhere.
            json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            found = str(strict) if data else "an empty body"
            raise MalformedBody(Fault("body", "a JSON object", found)) from strict
    if not isinstance(value, dict):
        raise MalformedBody(Fault("body", "a JSON object", type(value).__name__))
    return value


async def json_of(data: bytes, read: Callable[[bytes], dict[str, Any]] = parse) -> dict[str, Any]:
    """A body as a JSON object; raises MalformedBody, TooLarge."""
    shaped(data)
    return read(data) if len(data) < LARGE_BYTES else await run_in_threadpool(read, data)


def known_keys(body: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    """A misspelt key must not be ignored: "label" for "labels" would silently teach nothing."""
    strange = [key for key in body if key not in allowed]
    if strange:
        raise InvalidRequest(
            *(
                Fault(str(key)[:80], f"one of the keys {', '.join(allowed)}", "an unknown key")
                for key in strange[:10]
            )
        )


def name(body: Mapping[str, Any], key: str) -> str | None:
    """An optional string of 1 to `LONGEST_NAME` characters."""
    value = body.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_NAME:
        found = f"{len(value)} characters" if isinstance(value, str) else repr(value)[:60]
        raise InvalidRequest(Fault(key, f"a string of 1 to {LONGEST_NAME} characters", found))
    return value


def line(body: Mapping[str, Any], key: str = "line") -> str:
    """A required line; "" is that of rows which name none."""
    value = body.get(key)
    if value == "":
        return ""
    found = name(body, key)
    if found is None:
        raise InvalidRequest(Fault(key, "a line's name, or an empty string", "none"))
    return found


def instant(body: Mapping[str, Any], key: str) -> float | None:
    """An optional RFC 3339 time with its offset, as unix seconds."""
    value = body.get(key)
    if value is None:
        return None
    try:
        when = datetime.fromisoformat(_leapless(value.upper()))
        if when.tzinfo is None:
            raise ValueError("no offset")
    except (AttributeError, TypeError, ValueError):
        raise InvalidRequest(
            Fault(
                key, "an RFC 3339 time with offset, such as 2026-03-01T06:30:00Z", repr(value)[:60]
            )
        ) from None
    return when.timestamp()


def _leapless(text: str) -> str:
    """RFC 3339 allows a leap second, which unix time does not have: it is the one before it."""
    return LEAP.sub(r"\g<1>59", text)


def flag(body: Mapping[str, Any], key: str) -> bool:
    """An optional boolean, false by default."""
    value = body.get(key, False)
    if not isinstance(value, bool):
        raise InvalidRequest(Fault(key, "true or false", repr(value)[:60]))
    return value


def integer(body: Mapping[str, Any], key: str) -> int:
    """A required whole number."""
    value = body.get(key)
    if type(value) is not int:
        raise InvalidRequest(Fault(key, "a whole number", repr(value)[:60]))
    return value


def integers(body: Mapping[str, Any], key: str) -> list[int]:
    """A required list of whole numbers, not empty."""
    value = body.get(key)
    if not isinstance(value, list) or not value or not all(type(item) is int for item in value):
        raise InvalidRequest(Fault(key, "a list of whole numbers", repr(value)[:60]))
    if len(value) > MOST_VALUES:
        raise InvalidRequest(Fault(key, f"at most {MOST_VALUES} of them", f"{len(value)}"))
    return value


def names(body: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """An optional list of strings, empty by default."""
    value = body.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidRequest(Fault(key, "a list of strings", repr(value)[:60]))
    if len(value) > MOST_VALUES:
        raise InvalidRequest(Fault(key, f"at most {MOST_VALUES} of them", f"{len(value)}"))
    return tuple(value)
