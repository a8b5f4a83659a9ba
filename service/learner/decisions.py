"""What gate, guard and drift have decided, until it is an event.

On the writer's thread alone. A decision that names a snapshot is prepared elsewhere first, since
the store may hang; it is kept until it is durable, or can never be.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import InvalidStateError

import structlog

from model_store.errors import StoreUnavailable
from service.errors import Unavailable
from service.history.verbs import Alarm, Order, Promote, Reject
from service.learner.inbox import Inbox
from service.learner.messages import Decided
from service.learner.orders import Orders
from service.learner.requests import Prepared, Waiting
from service.learner.steward import Steward
from service.learner.writer import Do

log = structlog.get_logger()

RETRY_S = 1.0
"""Between two tries to prepare a decision while the store cannot be reached."""


class Decisions:
    """Decisions of each model, in the order in which they were made."""

    def __init__(self, stewards: Mapping[str, Steward], inbox: Inbox, orders: Orders) -> None:
        self._stewards = stewards
        self._inbox = inbox
        self._orders = orders
        self._queues: dict[str, deque[Order]] = {}
        self._preparing: dict[str, Order] = {}
        self._not_before: dict[str, float] = {}

    def add(self, orders: Iterable[Order]) -> None:
        """Take up what was decided."""
        for order in orders:
            self._queues.setdefault(order.model, deque()).append(order)

    def has(self, model: str, kind: str) -> bool:
        """Whether a decision of this kind is not an event yet."""
        return any(order.kind == kind for order in self._queues.get(model, ()))

    def pursue(self, do: Do) -> None:
        """Do what can be done now."""
        for model, queue in self._queues.items():
            while queue and not self._inbox.failing:
                order = queue[0]
                if not self._wanted(order):
                    queue.popleft()
                elif not _asks_the_store(order):
                    self._try(order, Waiting(Prepared(order)), do)
                else:
                    if self._preparing.get(model) is not order and self._due(model):
                        self._preparing[model] = order
                        self._orders.decide(order)
                    break

    def prepared(self, message: Decided, do: Do) -> None:
        """A decision has been prepared, or could not be."""
        order, found = message
        model = order.model
        if self._preparing.get(model) is order:
            del self._preparing[model]
        queue = self._queues[model]
        if not queue or queue[0] is not order or not self._wanted(order):
            if isinstance(found, Waiting):
                _called_off(found)
        elif isinstance(found, StoreUnavailable | Unavailable):
            self._not_before[model] = time.monotonic() + RETRY_S
            log.warning(f"{order.kind} waits for the store", model=model, error=str(found))
        elif isinstance(found, Exception):
            log.error(f"{order.kind} is impossible", model=model, error=str(found))
            queue.popleft()
            self._stewards[model].settled(order, committed=False)
            queue.appendleft(_instead(order, found))
        else:
            self._try(order, found, do)
        self.pursue(do)

    def _try(self, order: Order, waiting: Waiting, do: Do) -> None:
        """Commit it; it stays where it is while the log cannot be written."""
        if waiting.future.running() is False:
            waiting.future.set_running_or_notify_cancel()
        committed = do(waiting)
        if not committed and self._inbox.failing:
            return
        self._queues[order.model].popleft()
        self._stewards[order.model].settled(order, committed=committed)

    def _wanted(self, order: Order) -> bool:
        return self._stewards[order.model].wants(order)

    def _due(self, model: str) -> bool:
        return time.monotonic() >= self._not_before.get(model, 0.0)


def _asks_the_store(order: Order) -> bool:
    return isinstance(order.verb, Promote) or order.verb.effects.replaces


def _instead(order: Order, error: Exception) -> Order:
    """What is put on record where a decision cannot be carried out."""
    reason = f"{order.reason}; impossible: {error}"
    verb = Reject(order.verb.version) if isinstance(order.verb, Promote) else Alarm()
    return Order(order.model, verb, "apical", reason, True, order.cause, order.evidence)


def _called_off(waiting: Waiting) -> None:
    with contextlib.suppress(InvalidStateError):
        waiting.future.set_exception(Unavailable("called off"))
