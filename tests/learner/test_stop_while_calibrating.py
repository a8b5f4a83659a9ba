"""A learner that is told to stop does not wait for a drift reference that is being made."""

from __future__ import annotations

import threading
import time

from service.drift import Reference
from tests.line import readings
from tests.serving import press, serving


def test_a_stop_does_not_wait_for_a_reference_in_the_making(tmp_path, monkeypatch):
    begun, goes_on = threading.Event(), threading.Event()
    real = Reference.of

    def slow(*given):
        begun.set()
        goes_on.wait(60)
        return real(*given)

    monkeypatch.setattr(Reference, "of", slow)
    try:
        with serving(press(tmp_path, top="[drift]\nreference_rows = 1000\n")) as running:
            for start in range(0, 1200, 50):
                columns = readings(start, 50).T.tolist()
                running.client.predict(
                    "press", columns=dict(zip(("temp", "flow"), columns, strict=True))
                )
            assert begun.wait(30)
            asked = time.monotonic()
        assert time.monotonic() - asked < 20
    finally:
        goes_on.set()
