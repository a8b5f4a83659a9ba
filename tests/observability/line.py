"""A line with two sensors whose temperature can shift and whose inspector can go blind."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from clients import Client

MODEL = "press"
ROWS = 16

CONFIGURATION = """
[storage]
store = {store}
log = {log}
[drift]
reference_rows = 1500
[[models]]
name = "press"
classes = ["ok", "worn"]
hidden = [8]
members = ["gain", "sgd", "linear"]
snapshot_every_s = 3.0
probation_rows = 400
guard_rows = 150
[[models.features]]
name = "temp_c"
unit = "°C"
range = [-20.0, 200.0]
[[models.features]]
name = "vibration_mm_s"
unit = "mm/s"
range = [0.0, 50.0]
"""


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
"""By which every seventh batch comes."""


class Line:
    """Sends labelled batches to a learner and the same rows, unlabelled, to a replica."""

    def __init__(self, learner: Client, replica: Client) -> None:
        self._learner = learner
        self._replica = replica
        self._random = np.random.default_rng(7)
        self._sent = 0

    def run(
        self,
        until: Callable[[], bool],
        *,
        shift: float = 0.0,
        guessing: bool = False,
        limit_s: float = 60.0,
    ) -> None:
        """Send until the condition holds, which is looked at twice a second.

        ``shift``: added to the temperature, in standard deviations of 10 °C. ``guessing``: labels
        have nothing to do with the rows. Raises TimeoutError.
        """
        deadline = time.monotonic() + limit_s
        look = 0.0
        while True:
            if time.monotonic() > look:
                if until():
                    return
                look = time.monotonic() + 0.5
            if time.monotonic() > deadline:
                raise TimeoutError(f"the condition did not hold within {limit_s:g} s")
            self._send(shift, guessing)
            time.sleep(0.02)

    def _send(self, shift: float, guessing: bool) -> None:
        z = self._random.normal(size=(ROWS, 2))
        z[:, 0] += shift
        worn = z.sum(axis=1) > 0
        if guessing:
            worn = self._random.random(ROWS) < 0.5
        labels = ["worn" if w else "ok" for w in worn]
        rows: list[dict[str, float | None]] = [
            {"temp_c": 60 + 10 * float(a), "vibration_mm_s": 10 + 2 * float(b)} for a, b in z
        ]
        self._sent += 1
        name = f"batch-{self._sent}"
        if self._sent % 20 == 0:
            rows[0]["vibration_mm_s"] = None
            rows[1]["vibration_mm_s"] = 80.0
        if self._sent % 10 == 0:
            self._learner.predict(MODEL, rows, batch_id=name)
            self._learner.label(MODEL, name, labels)
        else:
            self._learner.learn(MODEL, rows, labels, batch_id=name)
        if self._sent % 7 == 0:
            self._learner._to.headers["traceparent"] = f"00-{TRACE}-00f067aa0ba902b7-01"
        else:
            self._learner._to.headers.pop("traceparent", None)
        if self._sent % 25 == 1:
            # The line never saw its reply and sends again.
            self._learner.learn(MODEL, rows, labels, batch_id=name)
        self._replica.predict(MODEL, rows)
