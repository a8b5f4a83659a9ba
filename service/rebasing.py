"""Running rebases: one thread each, beside a learner that goes on learning.

A rebase begins with an event and ends with one, so a restart knows which are under way.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import structlog

from service.errors import ApicalError, Refused
from service.rebase import Plan, Rebaser, Selection, plan
from service.work import Order, Swap, Verb

if TYPE_CHECKING:
    from service.learner import Learner

log = structlog.get_logger()

CLOSE_ENOUGH = 64
"""Events that may be left to replay when the writer is asked to swap: it waits for these."""


class Rebasing:
    """One rebase under way."""

    def __init__(
        self,
        learner: Learner,
        model: str,
        begin: int,
        selection: Selection,
        plan: Plan,
        actor: str,
        reason: str,
    ) -> None:
        self.begin = begin
        self.plan = plan
        self.result: dict[str, Any] | None = None
        self.error: str | None = None
        self._learner = learner
        self._model = model
        self._actor = actor
        self._reason = reason
        self._cancelled = threading.Event()
        self._stopped = threading.Event()
        self._started = time.monotonic()
        self._rebaser = Rebaser(model, selection, plan, learner.events, learner.store)
        self._thread = threading.Thread(target=self._run, name=f"rebase {model}")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Leave off without an end event: the next start goes on with it."""
        self._stopped.set()
        self._thread.join()

    def cancel(self) -> None:
        """Give it up; nothing of it becomes visible."""
        self._cancelled.set()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def status(self) -> dict[str, Any]:
        """Progress, for people and programs."""
        done = self._rebaser.state.seq - self.plan.base_seq
        seconds = max(time.monotonic() - self._started, 1e-9)
        live = self._learner.models[self._model].published.seq
        state = (
            "failed"
            if self.error
            else "cancelled"
            if self._cancelled.is_set()
            else "done"
            if self.result
            else "running"
        )
        return {
            "model": self._model,
            "state": state,
            "begin": self.begin,
            "replayed": done,
            "remaining": max(0, live - self._rebaser.state.seq) if state == "running" else 0,
            "events_per_s": done / seconds,
            "error": self.error,
            "result": self.result,
            "excluded_lessons": self._rebaser.exclusion.lessons,
            "excluded_rows": self._rebaser.exclusion.rows,
        }

    def _halted(self) -> bool:
        return self._cancelled.is_set() or self._stopped.is_set()

    def _run(self) -> None:
        try:
            self._catch_up()
        # A rebase that fails, for whatever reason, leaves the live learner as it is.
        except Exception as error:
            self.error = str(error)
            log.error(
                "rebase failed",
                model=self._model,
                error=str(error),
                exc_info=not isinstance(error, ApicalError),
            )

    def _catch_up(self) -> None:
        live = self._learner.models[self._model]
        while live.published.seq - self._rebaser.state.seq > CLOSE_ENOUGH and not self._halted():
            self._rebaser.advance(live.published.seq, self._halted)
        if self._stopped.is_set():
            return
        if self._cancelled.is_set():
            self._learner.order(
                Verb(
                    self._model,
                    "rebase_cancel",
                    self._learner.clock(),
                    self._actor,
                    "cancelled",
                    Order(values={"begin": self.begin}),
                    self.plan.base,
                )
            ).result()
            return
        swap = Swap(
            self._model, self._actor, self._reason, self.plan.base, self._finish, self._values
        )
        self.result = self._learner.order(swap).result()

    def _finish(self, until: int) -> Any:
        if self._halted():
            return None
        self._rebaser.advance(until)
        return self._rebaser.state

    def _values(self) -> dict[str, Any]:
        exclusion = self._rebaser.exclusion
        return {
            "begin": self.begin,
            "base": self.plan.base,
            "excluded": [list(pair) for pair in exclusion.ranges],
            "excluded_lessons": exclusion.lessons,
            "excluded_rows": exclusion.rows,
            "dropped_automatic_events": exclusion.consequences,
            "selection": exclusion.selection.to_json(),
        }


class Rebasings:
    """The rebases of one learner, at most one of each model at a time."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._latest: dict[str, Rebasing] = {}
        self._lock = threading.Lock()

    def preview(self, model: str, selection: Selection) -> Plan:
        """What a rebase would do now; changes nothing. Raises Refused."""
        learner = self._learner
        live = learner.model(model)
        return plan(model, selection, learner.events, learner.store, live.published.seq)

    def begin(self, model: str, selection: Selection, actor: str, reason: str) -> Rebasing:
        """Start one; its first event is durable when this returns.

        Raises
        ------
        Refused
            One is running, nothing is selected, or no snapshot is old enough.
        """
        with self._lock:
            if (running := self._latest.get(model)) is not None and running.running:
                raise Refused(
                    f"{model}: a rebase is running since event {running.begin}; "
                    "wait for it or cancel it"
                )
            found = self.preview(model, selection)
            begun = self._learner.order(
                Verb(
                    model,
                    "rebase_begin",
                    self._learner.clock(),
                    actor,
                    reason,
                    Order(values={"selection": selection.to_json()}),
                    found.base,
                )
            ).result()
            return self._start(model, begun["seq"], selection, found, actor, reason)

    def resume(self, model: str) -> None:
        """Go on with a rebase that a stop interrupted."""
        open_: dict[int, Any] = {}
        for record in self._learner.events.naming(model):
            if record.kind == "rebase_begin":
                open_[record.seq] = record
            elif record.kind in ("rebase", "rebase_cancel"):
                open_.pop(Order.from_bytes(record.payload).values.get("begin", 0), None)
        for record in open_.values():
            values = Order.from_bytes(record.payload).values
            selection = Selection.from_json(values["selection"])
            log.info("rebase resumed", model=model, begin=record.seq)
            try:
                found = self.preview(model, selection)
            except Refused as error:
                log.error("rebase cannot go on", model=model, error=str(error))
                continue
            self._start(
                model, record.seq, selection, found, record.actor or "", record.reason or ""
            )

    def latest(self, model: str) -> Rebasing | None:
        """The one that runs, or ran last in this process."""
        return self._latest.get(model)

    def cancel(self, model: str) -> Rebasing:
        """Raises Refused when none is running."""
        running = self._latest.get(model)
        if running is None or not running.running:
            raise Refused(f"{model}: no rebase is running")
        running.cancel()
        return running

    def close(self) -> None:
        for rebasing in self._latest.values():
            rebasing.stop()

    def _start(
        self, model: str, begin: int, selection: Selection, found: Plan, actor: str, reason: str
    ) -> Rebasing:
        rebasing = Rebasing(self._learner, model, begin, selection, found, actor, reason)
        self._latest[model] = rebasing
        rebasing.start()
        return rebasing
