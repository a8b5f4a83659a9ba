"""Watching for drift beside the work: rows go in, alarms and statistics come out.

One thread for all models of a process; whoever hands rows over never waits. Needs numpy alone, so
learner and replica share it. What is watched is no learner state: a restart starts it anew from
the reference in the newest snapshot.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from service.drift import Alarm, Columns
from service.metrics.declared import Metrics
from service.rows import Labels, Probabilities, Rows
from service.watcher.watched import Seen, Watched

log = structlog.get_logger()

BACKLOG_ROWS = 65_536
"""Rows that may wait; beyond that the newest are dropped and counted, never the line's time."""

LOOK_EVERY_S = 0.1
"""Seconds between two looks at what has come, at most."""

LOOK_SOON_S = 0.005
"""And at least."""

LOOK_ROWS = 256
"""Looks are so far apart that about as many rows come between: a thousand at once would hold up the
requests beside them."""


class Watcher:
    """The thread.

    Parameters
    ----------
    metrics
        Where alarms are counted and `measure` sets the statistics.
    on_alarm
        Called from the watcher's thread.
    rows_per_false_alarm
        Calibration: one false alarm of all of a model's detectors together in so many rows.
    max_features
        Statistics of no more features than this are exported.
    """

    def __init__(
        self,
        metrics: Metrics,
        on_alarm: Callable[[str, Alarm], None],
        *,
        rows_per_false_alarm: int,
        max_features: int,
    ) -> None:
        self._metrics = metrics
        self._on_alarm = on_alarm
        self._rows_per_false_alarm = rows_per_false_alarm
        self.max_features = max_features
        self._models: dict[str, Watched] = {}
        self._collects: dict[str, int] = {}
        self._waiting: deque[Seen] = deque()
        self._waiting_rows = 0
        # Held for one addition: from several threads at once a bare one loses counts for good.
        self._counting = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop; what waits is not watched any more."""
        self._stopped.set()
        if self._thread.is_alive():
            # Making a reference may take longer than this, and there is nothing to lose.
            self._thread.join(timeout=2.0)

    def watch(
        self,
        model: str,
        names: Sequence[str],
        reference: dict[str, Any] | None,
        collect: int = 0,
        ranges: Sequence[tuple[float, float]] | None = None,
        values: Sequence[Sequence[str]] = (),
    ) -> None:
        """Watch a model against ``reference``, or collect one of ``collect`` rows first (0: none
        is collected, and nothing watched until a reference comes); the rest as in `Watched`."""
        watched = self._models.get(model)
        if watched is None or watched.columns != Columns.made(names, ranges, values):
            watched = Watched(names, self._rows_per_false_alarm, ranges, values)
        self._collects[model] = collect
        if reference is not None:
            watched.use(reference)
        self._models[model] = watched

    def restart(self, model: str, reference: dict[str, Any] | None) -> None:
        """After a rollback: nothing raised, and the reference of then where there is one."""
        watched = self._models[model]
        watched.forget(reference or watched.reference)

    def renew(self, model: str) -> None:
        """Collect a new reference from the rows that follow."""
        self._models[model].forget()

    def reference(self, model: str) -> dict[str, Any] | None:
        """The reference in force, for a manifest."""
        watched = self._models.get(model)
        return None if watched is None else watched.reference

    def see(
        self,
        model: str,
        raw: Rows,
        probabilities: Probabilities,
        loss: NDArray[np.float64] | None = None,
    ) -> None:
        """Hand rows over; never waits."""
        watched = self._models.get(model)
        if watched is None:
            return
        if self._waiting_rows > BACKLOG_ROWS:
            self._metrics.drift_dropped.labels(model).inc(len(raw))
            return
        with self._counting:
            self._waiting_rows += len(raw)
        self._waiting.append(Seen(model, raw, probabilities, loss, watched.asked))

    @property
    def waiting_rows(self) -> int:
        """Rows that were handed over and not looked at yet."""
        return self._waiting_rows

    def measure(self) -> None:
        """Set the gauges of drift; called before a scrape."""
        metrics = self._metrics
        for model, watched in list(self._models.items()):
            # Read while it may be at work: figures of two blocks may stand side by side.
            monitor = watched.current
            rows = monitor.reference.rows if monitor is not None else 0
            metrics.drift_reference_rows.labels(model).set(rows)
            if monitor is None:
                continue
            exported = watched.columns.exported(self.max_features)
            for s in watched.columns.told(monitor.statistics()):
                if s.feature is not None and s.feature not in exported:
                    continue
                at = (model, s.question, s.kind, s.series, s.feature or "")
                metrics.drift_statistic.labels(*at).set(s.statistic)
                metrics.drift_threshold.labels(*at).set(s.threshold)
                metrics.drift_raised.labels(*at).set(s.raised)

    def state(self, model: str) -> dict[str, Any]:
        """What `GET /v1/models/{model}/drift` says."""
        watched = self._models.get(model)
        if watched is None:
            return {"model": model, "watched": False}
        reference, monitor = watched.reference, watched.current
        found = [] if monitor is None else watched.columns.told(monitor.statistics())
        raised = [statistic for statistic in found if statistic.raised]
        return {
            "model": model,
            "watched": reference is not None,
            "reference_rows": reference["rows"] if reference is not None else 0,
            "collected_rows": watched.collected_rows,
            "collecting_rows": 0 if reference is not None else self._collects[model],
            "trouble": watched.trouble,
            "unwatched": [] if monitor is None else monitor.reference.unwatched,
            "raised": [
                {
                    "question": s.question,
                    "kind": s.kind,
                    "feature": s.feature,
                    "statistic": s.statistic,
                    "threshold": s.threshold,
                    "window": s.window,
                }
                for s in raised
            ],
        }

    def _run(self) -> None:
        # Looked at now and then, not at every request: waking a thread costs the line more than
        # the arithmetic, and many rows at once cost less than the same rows one by one.
        wait_s, looked = LOOK_EVERY_S, time.monotonic()
        while not self._stopped.wait(wait_s):
            drained, now = self._drained(), time.monotonic()
            rows = sum(len(seen.raw) for batches in drained.values() for seen in batches)
            wait_s = min(LOOK_EVERY_S, max(LOOK_SOON_S, LOOK_ROWS * (now - looked) / max(rows, 1)))
            looked = now
            for model in list(self._models):
                try:
                    self._take(model, drained.get(model, []))
                # Watching must never end because of one odd batch, nor take anything with it.
                except Exception as error:
                    log.error("drift not watched", model=model, error=str(error), exc_info=True)

    def _drained(self) -> dict[str, list[Seen]]:
        found: dict[str, list[Seen]] = {}
        while self._waiting:
            seen = self._waiting.popleft()
            with self._counting:
                self._waiting_rows -= len(seen.raw)
            found.setdefault(seen.model, []).append(seen)
        return found

    def _take(self, model: str, batches: list[Seen]) -> None:
        watched = self._models[model]
        watched.catch_up()
        # What came before a rollback says nothing about what follows it.
        batches = [seen for seen in batches if seen.asked >= watched.done]
        while watched.monitor is None and batches:
            if self._collects[model]:
                watched.collect(batches[0], self._collects[model])
            batches = batches[1:]
        if watched.monitor is None or not batches:
            return
        for alarm in watched.columns.told(watched.monitor.update(*watched.joined(batches))):
            counted = self._metrics.drift_alarms
            counted.labels(model, alarm.question, alarm.kind, alarm.feature or "").inc()
            log.warning(
                "drift",
                model=model,
                question=alarm.question,
                kind=alarm.kind,
                feature=alarm.feature,
                statistic=round(alarm.statistic, 4),
                threshold=round(alarm.threshold, 4),
                rows=alarm.rows,
                sentence=alarm.sentence,
            )
            self._on_alarm(model, alarm)


def losses(labels: Labels | None, probabilities: Probabilities) -> NDArray[np.float64] | None:
    """0 or 1 per row, NaN where the label is unknown (negative); None without labels."""
    if labels is None:
        return None
    return np.where(labels < 0, np.nan, probabilities.argmax(1) != labels)
