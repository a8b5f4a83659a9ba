"""Memory that large requests took, given back to the machine."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc

LARGE_BYTES = 1024 * 1024
"""From here on a request's body is worth it."""

LATER_S = 0.05
"""After its reply, when what the server itself holds of it is gone."""


def give_back_soon() -> None:
    """After a large body. Else the allocator keeps what it took for as long as the process lives,
    in a heap that each such request may widen."""
    asyncio.get_running_loop().call_later(LATER_S, _give_back)


def _give_back() -> None:
    # What an error held, by its traceback. The young generations only: they are looked at in little
    # time, however much lives long.
    gc.collect(1)
    # Not every C library has it.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
