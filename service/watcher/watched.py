"""One model as the watcher sees it: the monitor, or the rows that will become its reference."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from service.drift import Columns, Monitor, Reference
from service.rows import Probabilities, Rows

log = structlog.get_logger()


class Seen(NamedTuple):
    """Rows in order of arrival: raw (B, n), probabilities (B, K), and loss (B,) 0 or 1, NaN where
    unlabelled; or late losses alone, with no rows. ``asked`` is that of its `Watched` then."""

    model: str
    raw: Rows
    probabilities: Probabilities
    loss: NDArray[np.float64] | None
    asked: int = 0


class Watched:
    """One model: the monitor, or the rows that will become its reference.

    Other threads say what to measure against, and read what is in force; all arithmetic is the
    watcher's thread's, and nobody waits for it.

    Parameters
    ----------
    names, ranges, values
        Of the sensors: see `Columns`.
    """

    def __init__(
        self,
        names: Sequence[str],
        rows_per_false_alarm: int,
        ranges: Sequence[tuple[float, float]] | None = None,
        values: Sequence[Sequence[str]] = (),
    ) -> None:
        self.columns = Columns.made(names, ranges, values)
        self.monitor: Monitor | None = None
        self.reference: dict[str, Any] | None = None
        self.collected: list[Seen] = []
        self.collected_rows = 0
        self.trouble: str | None = None
        """Why the rows collected so far make no reference."""
        self._rows_per_false_alarm = rows_per_false_alarm
        # Held for assignments alone.
        self._lock = threading.Lock()
        self.asked = self.done = 0

    @property
    def current(self) -> Monitor | None:
        """The monitor, unless something else was asked for since."""
        return self.monitor if self.reference is not None else None

    def use(self, reference: dict[str, Any]) -> None:
        """Measure against a reference from a manifest; any thread."""
        with self._lock:
            if reference != self.reference:
                self.reference = reference
                self.asked += 1

    def forget(self, reference: dict[str, Any] | None = None) -> None:
        """Start over: collect a reference from rows that follow, or use this one; any thread."""
        with self._lock:
            self.reference = reference
            self.asked += 1

    def catch_up(self) -> None:
        """Do what was asked for."""
        with self._lock:
            asked, reference = self.asked, self.reference
        if asked == self.done:
            return
        self.done = asked
        self.monitor = None
        self.collected, self.collected_rows, self.trouble = [], 0, None
        if reference is not None:
            self.monitor = Monitor(Reference.from_dict(reference), self._rows_per_false_alarm)

    def collect(self, seen: Seen, enough: int) -> None:
        """Keep rows until there are enough of them to be the reference."""
        self.collected.append(seen)
        self.collected_rows += len(seen.raw)
        if self.collected_rows < enough:
            if len(self.collected) > 2 * enough:
                # Late losses come without rows; where nothing else comes they must not pile up.
                self.collected = [each for each in self.collected if len(each.raw)]
            return
        raw, probabilities, loss = self.joined(self.collected)
        try:
            found = Reference.of(raw, self.columns.names, probabilities, loss).to_dict()
            monitor = Monitor(Reference.from_dict(found), self._rows_per_false_alarm)
        # Of these rows none can be made. The later half of them stays, and more will come.
        except (ArithmeticError, ValueError, np.linalg.LinAlgError) as error:
            self.trouble = str(error) or type(error).__name__
            log.error("no drift reference", rows=self.collected_rows, error=self.trouble)
            self.collected = self.collected[len(self.collected) // 2 :]
            self.collected_rows = sum(len(each.raw) for each in self.collected)
            return
        with self._lock:
            if self.asked != self.done:
                # Something else was asked for while this was being made.
                return
            self.reference = found
        self.monitor = monitor
        self.collected, self.collected_rows, self.trouble = [], 0, None

    def joined(self, batches: list[Seen]) -> tuple[Rows, Probabilities, NDArray[np.float64] | None]:
        """Several batches as one."""
        raw = self.columns.of(np.concatenate([s.raw for s in batches]))
        probabilities = np.concatenate([s.probabilities for s in batches])
        if all(s.loss is None for s in batches):
            return raw, probabilities, None
        unknown = [np.full(len(s.raw), np.nan) if s.loss is None else s.loss for s in batches]
        return raw, probabilities, np.concatenate(unknown)
