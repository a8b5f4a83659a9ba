"""The one door to the writer: its queue, and every check that refuses before anything happens."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from model_store.snapshots.store import SnapshotStore
from service.errors import Overloaded, Refused, Unavailable, UnknownSnapshot
from service.history.verbs import Order, RebaseCancel
from service.learner.messages import Message
from service.learner.requests import LateLabels, Posted, Swap, TakeSnapshot, Waiting, Work
from service.manifest import manifest_of


class Inbox:
    """Work and messages for the writer, in the order in which they came.

    Parameters
    ----------
    store
        Which snapshots there are is asked of it.
    most
        Work that may wait; messages from other threads of this process are not counted.
    check
        Raises where a model's verbs cannot be carried out now; see `Publisher.check`.
    """

    def __init__(self, store: SnapshotStore, most: int, check: Callable[[str], None]) -> None:
        self.failing: str | None = None
        """Why the log cannot be written now; set by the writer alone."""
        self.lost: str | None = None
        """Which other learner has the store by now; set by the writer alone."""
        self._store = store
        self._most = most
        self._check = check
        self._closed = False
        self._waiting = 0
        # Nothing may be put behind the last look at the queue.
        self._posting = threading.Lock()
        self._queue: queue.SimpleQueue[Waiting | Message | None] = queue.SimpleQueue()

    @property
    def depth(self) -> int:
        """Work that waits."""
        return self._waiting

    def post(self, work: Posted | LateLabels) -> Future[bytes]:
        """Queue what must be durable before it is answered; raises Overloaded, Unavailable."""
        return self._put(work)

    def order(self, work: Order | TakeSnapshot | Swap) -> Future[dict[str, Any]]:
        """Queue a verb; the future resolves when its event is durable and its effect visible.

        Raises
        ------
        UnknownSnapshot, Refused
            It names a snapshot that there is not, or that is staged.
        Overloaded, Unavailable
            Not now; nothing happened.
        StorageError
            Its effect could not be carried out now.
        """
        if isinstance(work, Order):
            named = work.verb.named
            # A rebase must come to its end even if its base is damaged, and set aside by now.
            if named is not None and not isinstance(work.verb, RebaseCancel):
                self.known_snapshot(work.model, named)
            self._check(work.model)
        return self._put(work)

    def tell(self, message: Message) -> None:
        """Hand the writer word from another thread of this process; never refused."""
        self._queue.put(message)

    def known_snapshot(self, model: str, version: int, *, staged: bool = False) -> None:
        """Raises UnknownSnapshot, saying which there are; and Refused for a staged one, unless
        ``staged`` allows it."""
        known = self._store.versions(model)
        if version not in known:
            shown = f"{known[0]}..{known[-1]}" if known else "none"
            raise UnknownSnapshot(
                f"model {model!r}: expected a snapshot among {shown} ({len(known)} kept), "
                f"found {version}"
            )
        if not staged and manifest_of(self._store, model, version).staged:
            raise Refused(
                f"model {model!r}: snapshot {version} is what a rebase made ahead of its event; "
                "the snapshot that the rebase published has the same state"
            )

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
        item = self._queue.get(block=timeout_s is not None, timeout=timeout_s)
        if isinstance(item, Waiting):
            with self._posting:
                self._waiting -= 1
        return item

    def left(self) -> Iterator[Waiting | Message]:
        """What was never taken, after the writer has ended."""
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
            if item is not None:
                yield item

    def _put(self, work: Work) -> Future[Any]:
        with self._posting:
            if self._closed:
                raise Unavailable("shutting down")
            if self.lost:
                raise Unavailable(f"the store is another learner's by now: {self.lost}")
            if self.failing:
                raise Unavailable(f"the event log cannot be written: {self.failing}", 1.0)
            if self._waiting >= self._most:
                raise Overloaded(f"the queue is full: {self._most} events wait")
            waiting = Waiting(work)
            # From here on the event happens, whether or not its caller still waits.
            waiting.future.set_running_or_notify_cancel()
            self._waiting += 1
            self._queue.put(waiting)
            return waiting.future
