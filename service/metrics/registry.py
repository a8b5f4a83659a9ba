"""A registry of metrics: how they are made, found again and written for a scrape."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    Summary,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from service.metrics.tally import Count, Spread, Sum

M = TypeVar("M", Counter, Gauge, Histogram, Summary)

disable_created_metrics()  # type: ignore[no-untyped-call]


def exemplar_of(trace: str | None) -> dict[str, str] | None:
    """What leads from a bucket to a trace."""
    return None if trace is None else {"trace_id": trace}


class Registry:
    """One process's, so that two can live in one test."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._children: dict[tuple[int, tuple[str, ...]], Any] = {}
        self._said: dict[tuple[int, str], str] = {}
        self._tallies: dict[int, Count | Sum | Spread] = {}
        self._telling = threading.Lock()
        # Memory, CPU and file descriptors of the process, under their usual names.
        ProcessCollector(registry=self.registry)

    def child(self, metric: M, *labels: str) -> M:
        """``metric.labels(*labels)``, which takes longer than to count, found once."""
        key = id(metric), labels
        found = self._children.get(key)
        if found is None:
            found = self._children[key] = metric.labels(*labels)
        return cast(M, found)

    def count(self, metric: Counter, *labels: str) -> Count:
        """A child that the event loop counts in every request."""
        child = self.child(metric, *labels)
        return cast(Count, self._tallies.setdefault(id(child), Count(child)))

    def sum(self, metric: Summary, *labels: str) -> Sum:
        """As `count`."""
        child = self.child(metric, *labels)
        return cast(Sum, self._tallies.setdefault(id(child), Sum(child)))

    def spread(self, metric: Histogram, *labels: str) -> Spread:
        """As `count`."""
        child = self.child(metric, *labels)
        return cast(Spread, self._tallies.setdefault(id(child), Spread(child)))

    def tell(self) -> None:
        """Let the metrics know what was counted up to now; before they are read."""
        with self._telling:
            for tally in list(self._tallies.values()):
                tally.tell()

    def say(self, metric: Gauge, of: str, text: str) -> None:
        """``metric{of, text}`` is 1, in the place of what was said of it before."""
        before = self._said.get((id(metric), of), text)
        if before != text:
            # Another scrape at the same time may have done it.
            with contextlib.suppress(KeyError):
                metric.remove(of, before)
        self._said[id(metric), of] = text
        metric.labels(of, text).set(1)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """What Prometheus scrapes, and its type: OpenMetrics where ``accept`` asks for it."""
        self.tell()
        encode, kind = choose_encoder(accept)
        return encode(self.registry), kind

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float]
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def _summary(self, name: str, text: str, labels: Sequence[str]) -> Summary:
        return Summary(name, text, labels, registry=self.registry)
