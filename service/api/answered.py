"""What the writer has answered, on its way to the event loop: a group's answers together.

A reply needs the interpreter's lock to get out, and so do gate and guard, which look at what was
learned as soon as it is answered. So the writer first lets the replies out, and waits for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from concurrent.futures import Future

PATIENCE_S = 0.005
"""How long the writer waits for the event loop, which may be reading something large."""


class Answered:
    """Both threads': the event loop's waits for answers, the writer's lets them out."""

    def __init__(self) -> None:
        self._loop: _Loop | None = None

    def wait_for(self, future: Future[bytes]) -> asyncio.Future[bytes]:
        """The answer in the running event loop, or the error; that nobody waits any more changes
        nothing of what is asked for."""
        loop = asyncio.get_running_loop()
        if self._loop is None or self._loop.loop is not loop:
            self._loop = _Loop(loop)
        return self._loop.wait_for(future)

    def let_out(self) -> None:
        """Return once the answers that there are were sent, or after `PATIENCE_S`; the writer's."""
        if self._loop is not None:
            self._loop.let_out()


class _Loop:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._here: deque[tuple[asyncio.Future[bytes], Future[bytes]]] = deque()
        self._woken = False
        self._out = threading.Event()
        self._out.set()

    def wait_for(self, future: Future[bytes]) -> asyncio.Future[bytes]:
        mine: asyncio.Future[bytes] = self.loop.create_future()
        future.add_done_callback(lambda done: self._arrived(mine, done))
        return mine

    def _arrived(self, mine: asyncio.Future[bytes], done: Future[bytes]) -> None:
        self._here.append((mine, done))
        if not self._woken:
            self._woken = True
            self._out.clear()
            # Nobody waits in a loop that is closed.
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._hand)

    def _hand(self) -> None:
        # First: what arrives from here on wakes the loop again.
        self._woken = False
        while self._here:
            mine, done = self._here.popleft()
            if mine.done():
                continue
            error = done.exception()
            if error is None:
                mine.set_result(done.result())
            else:
                mine.set_exception(error)
        # Behind those who wait: they send what they were given before this is called.
        self.loop.call_soon(self._out.set)

    def let_out(self) -> None:
        self._out.wait(PATIENCE_S)
