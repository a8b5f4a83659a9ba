"""What gate and guard add to a labelled step."""

from __future__ import annotations

import statistics
import time

import numpy as np

from benchmarks.guard.streams import SENSORS, stream
from service.dll import apply, forward, initial
from service.evaluation.gate import Gate
from service.evaluation.guard import Guard
from service.state import Labelled, plain


def shadow_cost(rows: int, batch: int = 1) -> tuple[float, float]:
    """Median seconds of a labelled step (with gate and guard, without), step by step in turns."""
    given = stream("stable", 4, 0, rows * batch)
    x, y = given.x.astype(np.float32), given.labels
    state = initial(plain(ranges=((-6.0, 6.0),) * SENSORS, classes=4))
    champion = candidate = state
    # One probation that never ends: every step pays for both frozen networks.
    gate, guard = Gate(rows * batch + 1), Guard()
    gate.enter(1)
    on, off = [], []
    for step in range(rows):
        part = slice(step * batch, (step + 1) * batch)
        event = Labelled(x[part], y[part])
        labels = given.labels[part]
        started = time.perf_counter()
        apply(state, event)
        between = time.perf_counter()
        state, reply = apply(state, event)
        assert reply is not None
        champions = forward(champion, event.rows)
        guard.observe(state.seq, labels, reply.probabilities, champions)
        candidates = forward(candidate, event.rows)
        gate.observe(state.seq, labels, champions, candidates, hold=guard.suspicious)
        on.append(time.perf_counter() - between)
        off.append(between - started)
        if guard.fired:
            guard.reset()
    return statistics.median(on), statistics.median(off)
