"""The one door to the writer: its queue, and every check that refuses before anything happens."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from service.errors import Overloaded, Unavailable
from service.learner.messages import Message
from service.learner.requests import LateLabels, Posted, Swap, TakeSnapshot, Waiting, Work


class Inbox:
    """Work and messages for the writer, in the order in which they came.

    Parameters
    ----------
    most
        Work that may wait; messages from other threads of this process are not counted.
    """

    def __init__(self, most: int) -> None:
        self.failing: str | None = None
        """Why the log cannot be written now; set by the writer alone."""
        self.lost: str | None = None
        """Which other learner has the store by now; set by the writer alone."""
        self._most = most
        self._closed = False
        self._waiting = 0
        # Nothing may be put behind the last look at the queue.
        self._posting = threading.Lock()
        self._queue: queue.SimpleQueue[Waiting | Message | None] = queue.SimpleQueue()
        # What `take_beside` went past; the writer alone touches it.
        self._aside: deque[Waiting | Message | None] = deque()

    @property
    def depth(self) -> int:
        """Work that waits."""
        return self._waiting

    def post(self, work: Posted | LateLabels) -> Future[bytes]:
        """Queue what must be durable before it is answered; raises Overloaded, Unavailable."""
        return self._put(work)

    def ask(self, work: TakeSnapshot | Swap) -> Future[dict[str, Any]]:
        """Queue a snapshot or the end of a rebase; raises Overloaded, Unavailable."""
        return self._put(work)

    def put(self, waiting: Waiting) -> None:
        """Queue an order that was prepared; raises Overloaded, Unavailable."""
        self._queued(waiting)

    def tell(self, message: Message) -> None:
        """Hand the writer word from another thread of this process; never refused."""
        self._queue.put(message)

    def refuse(self) -> None:
        """Take no more work: what comes from now on is told that the process is stopping."""
        with self._posting:
            self._closed = True

    def end(self) -> None:
        """Let the writer stop behind what is queued."""
        self._queue.put(None)

    def take(self, timeout_s: float | None = None) -> Waiting | Message | None:
        """The next thing, or None at the end; raises `queue.Empty` after ``timeout_s``, at once
        where that is None."""
        if self._aside:
            return self._taken(self._aside.popleft())
        return self._taken(self._queue.get(block=timeout_s is not None, timeout=timeout_s))

    def take_beside(self, model: str, fits: Callable[[Waiting], bool]) -> Waiting | None:
        """The next work that ``fits``, of a model of which nothing waits before it and that is not
        ``model``; None where there is none. All else keeps its place."""
        held = {model, *(item.work.model for item in self._aside if isinstance(item, Waiting))}
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return None
            if isinstance(item, Waiting):
                if item.work.model not in held and fits(item):
                    self._taken(item)
                    return item
                held.add(item.work.model)
            self._aside.append(item)

    def _taken(self, item: Waiting | Message | None) -> Waiting | Message | None:
        if isinstance(item, Waiting):
            with self._posting:
                self._waiting -= 1
        return item

    def left(self) -> Iterator[Waiting | Message]:
        """What was never taken, after the writer has ended."""
        yield from (item for item in self._aside if item is not None)
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
            if item is not None:
                yield item

    def _put(self, work: Work) -> Future[Any]:
        waiting = Waiting(work)
        # From here on the event happens, whether or not its caller still waits.
        waiting.future.set_running_or_notify_cancel()
        self._queued(waiting)
        return waiting.future

    def _queued(self, waiting: Waiting) -> None:
        with self._posting:
            if self._closed:
                raise Unavailable("shutting down")
            if self.lost:
                raise Unavailable(f"the store is another learner's by now: {self.lost}")
            if self.failing:
                raise Unavailable(f"the event log cannot be written: {self.failing}", 1.0)
            if self._waiting >= self._most:
                raise Overloaded(f"the queue is full: {self._most} events wait")
            self._waiting += 1
            self._queue.put(waiting)
