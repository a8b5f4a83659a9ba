"""How far a replay has come, on standard error: a bar for people, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = structlog.get_logger()

LINE_EVERY_S = 5.0
BAR_FROM_EVENTS = 2000


class ReplayProgress:
    """Call it with a model's name, events done and events in all."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("replaying {task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]:.0f} events/s"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
        self._model: str | None = None
        self._started = self._told = 0.0

    def __call__(self, model: str, done: int, total: int) -> None:
        now = time.monotonic()
        if model != self._model:
            self._model, self._started, self._told = model, now, now
            if self._bar is not None and total >= BAR_FROM_EVENTS:
                self._task = self._bar.add_task(model, total=total, rate=0.0)
                self._bar.start()
        rate = done / max(now - self._started, 1e-9)
        if self._bar is not None:
            if total >= BAR_FROM_EVENTS:
                self._bar.update(self._task, completed=done, rate=rate)
                if done == total:
                    self._bar.stop()
        elif now - self._told >= LINE_EVERY_S:
            self._told = now
            log.info("replaying", model=model, done=done, total=total, events_per_s=round(rate))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
