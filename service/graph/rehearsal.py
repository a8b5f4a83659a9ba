"""A sample of labelled rows as nodes: `service.dll.rehearsal` in a graph, for one new row."""

from __future__ import annotations

from typing import NamedTuple

from service.graph.nodes import Typed
from service.state import Configuration
from service.state.draws import FACTOR, PRIME, SHIFT, mixed

ROWS, LABELS, SEEN = (f"reservoir.{k}" for k in ("rows", "labels", "seen"))


class Again(NamedTuple):
    """``rows`` (k, n) and ``labels`` (k,) of the sample, and ``some``: 1 in the graph's precision,
    0 where the sample is empty and the rows mean nothing."""

    rows: str
    labels: str
    some: str


def rehearsed(n: Typed, configuration: Configuration, count: int) -> Again:
    """Rows that are drawn, with replacement."""
    held = n.op("Min", SEEN, n.i([configuration.reservoir]))
    places = _drawn(n, configuration.seed, list(range(1, count + 1)))
    places = n.op("Mod", places, n.op("Max", held, n.i([1])))
    some = n.typed(n.op("Greater", held, n.i([0])))
    rows = n.op("Gather", ROWS, places, axis=0)
    return Again(rows, n.op("Gather", LABELS, places, axis=0), some)


def kept(n: Typed, configuration: Configuration) -> dict[str, str]:
    """The sample after the row of ``rows`` and ``labels``."""
    size = configuration.reservoir
    place = n.op("Mod", _drawn(n, configuration.seed, [0]), n.op("Add", SEEN, n.i([1])))
    place = n.op("Where", n.op("Less", SEEN, n.i([size])), SEEN, place)
    # Where it lies beyond them, no place is the row's.
    here = n.op("Equal", n.i(range(size)), place)
    return {
        ROWS: n.op("Where", n.unsqueezed(here, 1), "rows", ROWS),
        LABELS: n.op("Where", here, "labels", LABELS),
        SEEN: n.op("Add", SEEN, n.i([1])),
    }


def _drawn(n: Typed, seed: int, ks: list[int]) -> str:
    """`drawn` (k,) of each k, at the number of rows seen."""
    seen = n.op("Add", n.i(mixed(seed)), n.op("Mod", SEEN, n.i(PRIME)))
    return _mixed(n, n.op("Add", _mixed(n, seen), n.i(ks)))


def _mixed(n: Typed, value: str) -> str:
    prime = n.i(PRIME)
    x = n.op("Add", n.op("Mul", n.op("Mod", value, prime), n.i(FACTOR)), n.i(SHIFT))
    x = n.op("Mod", x, prime)
    square = n.op("Mod", n.op("Mul", x, x), prime)
    fourth = n.op("Mod", n.op("Mul", square, square), prime)
    return n.op("Mod", n.op("Mul", fourth, x), prime)
