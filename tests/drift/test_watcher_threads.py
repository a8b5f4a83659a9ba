"""Rows are handed to the watcher from several threads at once, and each is counted once."""

from __future__ import annotations

import sys
import threading

import numpy as np

from service.metrics.declared import Metrics
from service.watcher import Watcher
from tests.line import wait_for

THREADS, BATCHES, ROWS = 8, 400, 3


def test_no_count_is_lost_between_threads():
    watcher = Watcher(
        Metrics(), lambda model, alarm: None, rows_per_false_alarm=200_000, max_features=64
    )
    watcher.watch("press", ["temp", "flow"], None, collect=10**9)
    raw, said = np.zeros((ROWS, 2), np.float32), np.full((ROWS, 2), 0.5, np.float32)

    def hand_over():
        for _ in range(BATCHES):
            watcher.see("press", raw, said)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=hand_over) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert watcher.waiting_rows == THREADS * BATCHES * ROWS
    watcher.start()
    try:
        wait_for(lambda: watcher.waiting_rows == 0)
    finally:
        watcher.close()
