"""Metrics of what happens in every request, counted where no other thread counts.

Prometheus' client takes a lock or two and some checks for each number, which for the eight of a
request is a twelfth of its time. A tally adds to plain numbers, and is told on before a scrape.
Only the event loop's thread may count; any thread may tell.
"""

from __future__ import annotations

from bisect import bisect_left

from prometheus_client import Counter, Histogram, Summary


class Count:
    """A counter's child."""

    __slots__ = ("_child", "_told", "_value")

    def __init__(self, child: Counter) -> None:
        self._child = child
        self._value = self._told = 0

    def inc(self, amount: int = 1) -> None:
        self._value += amount

    def tell(self) -> None:
        now = self._value
        self._child.inc(now - self._told)
        self._told = now


class Sum:
    """A summary's child."""

    __slots__ = ("_child", "_told", "_value")

    def __init__(self, child: Summary) -> None:
        self._child = child
        # Count and sum in one value: a scrape must not see one without the other.
        self._value = self._told = (0, 0.0)

    def observe(self, amount: float) -> None:
        count, total = self._value
        self._value = count + 1, total + amount

    def tell(self) -> None:
        now, told = self._value, self._told
        self._child._count.inc(now[0] - told[0])
        self._child._sum.inc(now[1] - told[1])
        self._told = now


class Spread:
    """A histogram's child."""

    __slots__ = ("_bounds", "_buckets", "_child", "_told", "_total")

    def __init__(self, child: Histogram) -> None:
        self._child = child
        self._bounds = child._upper_bounds
        self._buckets = [0] * len(self._bounds)
        self._total = 0.0
        self._told = self._now()

    def observe(self, amount: float) -> None:
        self._buckets[bisect_left(self._bounds, amount)] += 1
        self._total += amount

    def tell(self) -> None:
        now, told = self._now(), self._told
        for bucket, after, before in zip(self._child._buckets, now, told, strict=False):
            bucket.inc(after - before)
        self._child._sum.inc(now[-1] - told[-1])
        self._told = now

    def _now(self) -> tuple[float, ...]:
        return *self._buckets, self._total
