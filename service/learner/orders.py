"""What a verb needs of the store, looked up before its event and off the writer's thread.

A store may hang. So the writer never asks it for anything: whoever gives an order waits here, in a
line of the model's own, and what comes to the writer is an order with all that it needs.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, NamedTuple

from model_store.errors import SnapshotMissing
from model_store.snapshots.store import SnapshotStore
from service.errors import Refused, Unavailable, UnknownSnapshot
from service.history.verbs import Order, Promote, RebaseCancel
from service.learner.inbox import Inbox
from service.learner.messages import Decided
from service.learner.requests import Prepared, Waiting
from service.manifest import manifest_of
from service.publishing.retention import Retention
from service.publishing.taking import check_champion, load_state
from service.state import finite


class _Given(NamedTuple):
    order: Order
    future: Future[dict[str, Any]]
    then: Callable[[Waiting | Exception], None]


class Orders:
    """Prepares orders, one of each model at a time, in the order in which they were given.

    Parameters
    ----------
    check
        Raises where a model's verbs cannot be carried out now; see `Publisher.check`.
    retention
        Spares the snapshot that an order speaks of until its effect is visible.
    """

    def __init__(
        self,
        inbox: Inbox,
        store: SnapshotStore,
        check: Callable[[str], None],
        retention: Retention,
    ) -> None:
        self._inbox = inbox
        self._store = store
        self._check = check
        self._retention = retention
        self._lines: dict[str, queue.SimpleQueue[_Given | None]] = {}
        self._open: set[Future[dict[str, Any]]] = set()
        self._closed = False
        self._lock = threading.Lock()

    def give(self, order: Order) -> Future[dict[str, Any]]:
        """Order something; the future resolves when its event is durable and its effect visible.

        It fails with UnknownSnapshot or Refused where the order names a snapshot that there is not
        or that is staged, with Overloaded or Unavailable where nothing happened, and with a
        StorageError where the store does not let it come about now.
        """
        future: Future[dict[str, Any]] = Future()

        def then(found: Waiting | Exception) -> None:
            try:
                if isinstance(found, Exception):
                    raise found
                self._inbox.put(found)
            # Whatever it is, it is its caller's.
            except Exception as error:
                with contextlib.suppress(InvalidStateError):
                    future.set_exception(error)

        return self._queue(_Given(order, future, then))

    def decide(self, order: Order) -> None:
        """Prepare what a detector decided; the writer hears of it by message."""
        future: Future[dict[str, Any]] = Future()

        def then(found: Waiting | Exception) -> None:
            if isinstance(found, Exception):
                with contextlib.suppress(InvalidStateError):
                    future.set_exception(found)
            self._inbox.tell(Decided(order, found))

        self._queue(_Given(order, future, then))

    def close(self) -> None:
        """Prepare nothing more: what was not handed on is told so, also where the store hangs."""
        with self._lock:
            self._closed = True
            waiting = list(self._open)
        for line in self._lines.values():
            line.put(None)
        for future in waiting:
            with contextlib.suppress(InvalidStateError):
                future.set_exception(Unavailable("shutting down"))

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

    def _queue(self, given: _Given) -> Future[dict[str, Any]]:
        # From here on the event may happen, whether or not its caller still waits.
        given.future.set_running_or_notify_cancel()
        model = given.order.model
        with self._lock:
            if self._closed:
                raise Unavailable("shutting down")
            if model not in self._lines:
                line: queue.SimpleQueue[_Given | None] = queue.SimpleQueue()
                self._lines[model] = line
                # A daemon: a store that hangs must not hold up a process that stops.
                name = f"orders {model}"
                threading.Thread(target=self._work, args=(line,), name=name, daemon=True).start()
            self._open.add(given.future)
            self._lines[model].put(given)
        return given.future

    def _work(self, line: queue.SimpleQueue[_Given | None]) -> None:
        while (given := line.get()) is not None:
            found = self._prepare(given.order, given.future)
            with self._lock:
                self._open.discard(given.future)
            if given.future.done():
                continue
            given.then(found)

    def _prepare(self, order: Order, future: Future[dict[str, Any]]) -> Waiting | Exception:
        model, verb = order.model, order.verb
        version = verb.version if isinstance(verb, Promote) else verb.named
        try:
            self._check(model)
            # A rebase must come to its end even if its base is damaged, and set aside by now.
            if version is None or isinstance(verb, RebaseCancel):
                return Waiting(Prepared(order), future)
            self._retention.hold(model, version)
            future.add_done_callback(lambda done: self._retention.let_go(model, version))
            self.known_snapshot(model, version)
            replacement = None
            if isinstance(verb, Promote):
                # Every byte of it, before its event: a champion that is damaged would be none.
                check_champion(self._store, model, version)
            elif verb.effects.replaces:
                replacement = load_state(self._store, model, version)
                if not finite(replacement):
                    raise Refused(
                        f"{model}: expected a snapshot of finite numbers, found others in {version}"
                    )
            return Waiting(Prepared(order, replacement), future)
        # Whatever went wrong belongs to this one order.
        except SnapshotMissing as error:
            return UnknownSnapshot(str(error))
        except Exception as error:
            return error
