"""Packed bodies count by what they may become, so that bombs at once do not add up."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from service.api.bodies import SMALL_BYTES, Arriving, received
from service.errors import Overloaded, TooLarge

LIMIT = 1 << 20
HEADERS = {b"content-encoding": b"gzip"}


def ask(arriving, data):
    async def receive():
        return {"type": "http.request", "body": data}

    return asyncio.run(received(HEADERS, receive, LIMIT, arriving))


def test_what_it_may_become_is_held_while_it_is_unpacked_and_let_go():
    arriving = Arriving(2 * LIMIT)
    large = gzip.compress(bytes(LIMIT // 2))
    assert ask(arriving, large) == bytes(LIMIT // 2)
    with pytest.raises(TooLarge, match="once unpacked"):
        ask(arriving, gzip.compress(bytes(LIMIT + 1)))
    # Others have taken what there is.
    arriving.hold(0, 2 * LIMIT - SMALL_BYTES)
    with pytest.raises(Overloaded):
        ask(arriving, large)
    # A line's own few rows pass all the same.
    small = gzip.compress(b"x" * 100)
    assert 1032 * len(small) < SMALL_BYTES
    assert ask(arriving, small) == b"x" * 100
    arriving.let_go(2 * LIMIT - SMALL_BYTES)
    assert arriving._bytes == 0
    assert ask(arriving, large) == bytes(LIMIT // 2)
