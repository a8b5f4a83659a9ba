"""False alarms and delays of the drift monitor beside textbook detectors, on the same rows.

    python -m benchmarks.drift --json out.json

A line has four sensors and a classifier of two classes. Each seed draws, for each stable stream, a
reference of 10,000 rows and `--rows` stable rows after it. Every alarm in those is false. Then the
detectors, as they were after the first 10,000 stable rows, see the next 5,000 with a change in the
last sensor (or in the loss); detected means a first alarm within these 5,000 rows. In the medians
a miss counts as 5,000 rows.

Streams (noise of standard deviation sigma = 1 in each sensor, sensors independent): `iid`; `ar_05`
and `ar_09`, AR(1) of that coefficient; `daily`, independent noise on a sine of period 2,000 rows
and amplitude 1 sigma, its phase drawn per sensor. The loss is 0 or 1 and as autocorrelated as the
stream: an error wherever a fifth such series exceeds a quantile.

Changes: `shift_*`, a step of the level; `variance`, the noise doubled; `ramp`, the level rises to 2
sigma over 2,000 rows and stays; `stuck`, the reading before the change repeats; `concept`, the
error rate goes from 0.05 to 0.25 and no sensor moves.

The monitor is one `Monitor` over all sensors, the predictions and the loss, and all of its alarms
count. A peer watches a single series, the one that will change, at its defaults; this favours the
peers, which would cry wolf on each of the series of a line. Each sees the reference first. `always`
alarms at every row: what a detected fraction of 1 is worth by itself. A delay runs to the end of
the block of 16 rows in which the monitor alarms; fed row by row, that is when it tells.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from river import drift
from scipy.signal import lfilter

from benchmarks.output import machine
from service.drift import Alarm, Monitor, Reference

Array = NDArray[np.float64]

STREAMS = ("iid", "ar_05", "ar_09", "daily")
CHANGES = (
    "shift_half_sigma",
    "shift_1_sigma",
    "shift_2_sigma",
    "variance",
    "ramp",
    "stuck",
    "concept",
)
SENSORS = ("temp_c", "pressure_bar", "flow_l_min", "torque_nm")
REFERENCE_ROWS = 10_000
SETTLED_ROWS = 10_000
WITHIN_ROWS = 5_000
PERIOD = 2_000
ROWS_PER_FALSE_ALARM = 200_000
ERROR_RATE, ERROR_RATE_AFTER = 0.05, 0.25
RAMP_ROWS, RAMP_SIGMA = 2_000, 2.0
WEIGHTS = np.array([1.0, -1.0, 0.5, 0.5])


@dataclass(frozen=True)
class Rows:
    """Parts of a sensor stream `(n, 4)` kept apart, so that a change can act on one of them.

    `cycle` and `noise` add up to the readings; `latent` `(n,)` is an error where above a quantile.
    """

    cycle: Array
    noise: Array
    latent: Array

    @property
    def x(self) -> Array:
        """The readings `(n, 4)`."""
        readings: Array = self.cycle + self.noise
        return readings

    def loss(self, error_rate: float, quantiles: Array) -> Array:
        """`(n,)` of 0 and 1; `quantiles` are those of `latent` at k / (len - 1)."""
        bound = quantiles[round((1 - error_rate) * (len(quantiles) - 1))]
        errors: Array = (self.latent > bound).astype(np.float64)
        return errors

    def part(self, start: int, stop: int | None) -> Rows:
        """The rows from `start` to before `stop`."""
        return Rows(self.cycle[start:stop], self.noise[start:stop], self.latent[start:stop])


def stable_rows(stream: str, rows: int, seed: int) -> Rows:
    """`rows` rows of a stable stream, by name."""
    rng = np.random.default_rng([STREAMS.index(stream), seed])
    series = len(SENSORS) + 1
    phi = {"ar_05": 0.5, "ar_09": 0.9}.get(stream, 0.0)
    burn_in = 500
    drawn = rng.normal(size=(rows + burn_in, series)) * math.sqrt(1 - phi**2)
    noise = lfilter([1.0], [1.0, -phi], drawn, axis=0)[burn_in:]
    cycle = np.zeros((rows, series))
    if stream == "daily":
        phase = rng.uniform(0, 2 * np.pi, size=series)
        cycle = np.sin(2 * np.pi * np.arange(rows)[:, None] / PERIOD + phase)
    return Rows(cycle[:, :-1], noise[:, :-1], cycle[:, -1] + noise[:, -1])


def latent_quantiles(stream: str) -> Array:
    """Quantiles of `Rows.latent` in steps of 0.001, from its distribution, not from the rows."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=2_000_000)
    if stream == "daily":
        drawn += np.sin(rng.uniform(0, 2 * np.pi, size=drawn.size))
    found: Array = np.quantile(drawn, np.linspace(0, 1, 1001))
    return found


def changed(rows: Rows, change: str, before: Array) -> Array:
    """The readings `(n, 4)` of `rows` with `change` in the last sensor, after `before` `(4,)`."""
    x = rows.x.copy()
    match change:
        case "shift_half_sigma":
            x[:, -1] += 0.5
        case "shift_1_sigma":
            x[:, -1] += 1
        case "shift_2_sigma":
            x[:, -1] += 2
        case "variance":
            x[:, -1] += rows.noise[:, -1]
        case "ramp":
            x[:, -1] += RAMP_SIGMA * np.minimum(np.arange(len(x)) / RAMP_ROWS, 1)
        case "stuck":
            x[:, -1] = before[-1]
    return x


def probabilities(x: Array) -> Array:
    """The classifier `(n, 2)`: a fixed logistic regression."""
    one = 1 / (1 + np.exp(-x @ WEIGHTS))
    return np.stack([1 - one, one], axis=1)


class Always:
    """Alarms at every row."""

    drift_detected = True

    def update(self, value: float) -> None:
        """See nothing."""


PEERS: dict[str, Callable[[int], Any]] = {
    "adwin": lambda seed: drift.ADWIN(),
    "kswin": lambda seed: drift.KSWIN(seed=seed),
    "page_hinkley": lambda seed: drift.PageHinkley(),
    "always": lambda seed: Always(),
}


def peer_alarms(peer: Any, values: Iterable[float]) -> list[int]:
    """Rows (from 1) at which a river detector says drift."""
    found = []
    for row, value in enumerate(values, start=1):
        peer.update(value)
        if peer.drift_detected:
            found.append(row)
    return found


def first_peer_alarm(peer: Any, values: Iterable[float]) -> int | None:
    """The first row (from 1) at which a river detector says drift."""
    for row, value in enumerate(values, start=1):
        peer.update(value)
        if peer.drift_detected:
            return row
    return None


def watched(monitor: Monitor, x: Array, loss: Array, chunk: int = 1_000) -> list[Alarm]:
    """All alarms of the monitor over these rows."""
    alarms = []
    for start in range(0, len(x), chunk):
        part = x[start : start + chunk]
        alarms += monitor.update(part, probabilities(part), loss[start : start + chunk])
    return alarms


def right(alarm: Alarm, change: str) -> bool:
    """Whether an alarm names what happened: the sensor and the kind, or the concept."""
    if change == "concept":
        return alarm.kind == "concept"
    kind = change if change in ("variance", "stuck") else "shift"
    return alarm.feature == SENSORS[-1] and alarm.kind == kind


def monitor_round(rows: Rows, quantiles: Array) -> dict[str, Any]:
    """False alarms and, per change, first alarm, of the monitor on one seed of one stream."""
    reference_rows, stable = rows.part(0, REFERENCE_ROWS), rows.part(REFERENCE_ROWS, None)
    loss = stable.loss(ERROR_RATE, quantiles)
    x = stable.x
    reference = Reference.of(
        reference_rows.x,
        SENSORS,
        probabilities(reference_rows.x),
        reference_rows.loss(ERROR_RATE, quantiles),
    )
    monitor = Monitor(reference, ROWS_PER_FALSE_ALARM)
    false = watched(monitor, x[:SETTLED_ROWS], loss[:SETTLED_ROWS])
    settled = copy.deepcopy(monitor)
    false += watched(monitor, x[SETTLED_ROWS:], loss[SETTLED_ROWS:])
    after = stable.part(SETTLED_ROWS, SETTLED_ROWS + WITHIN_ROWS)
    delays, named = {}, {}
    for change in CHANGES:
        watching = copy.deepcopy(settled)
        rate = ERROR_RATE_AFTER if change == "concept" else ERROR_RATE
        alarms = watched(
            watching, changed(after, change, x[SETTLED_ROWS - 1]), after.loss(rate, quantiles)
        )
        delays[change] = alarms[0].rows - SETTLED_ROWS if alarms else None
        named[change] = bool(alarms) and any(right(a, change) for a in alarms[:1])
    return {
        "false": len(false),
        "kinds": [f"{a.kind}:{a.window}" for a in false],
        "delays": delays,
        "named": named,
    }


def peer_round(name: str, seed: int, rows: Rows, quantiles: Array) -> dict[str, Any]:
    """The same of a peer: one detector on the last sensor, one on the loss for `concept`."""
    stable = rows.part(REFERENCE_ROWS, None)
    x = rows.x[:, -1]
    peer = PEERS[name](seed)
    peer_alarms(peer, x[:REFERENCE_ROWS])
    false = len(peer_alarms(peer, x[REFERENCE_ROWS : REFERENCE_ROWS + SETTLED_ROWS]))
    settled = copy.deepcopy(peer)
    false += len(peer_alarms(peer, x[REFERENCE_ROWS + SETTLED_ROWS :]))
    on_loss = PEERS[name](seed)
    settled_end = REFERENCE_ROWS + SETTLED_ROWS
    peer_alarms(on_loss, rows.part(0, settled_end).loss(ERROR_RATE, quantiles))
    after = stable.part(SETTLED_ROWS, SETTLED_ROWS + WITHIN_ROWS)
    delays = {}
    for change in CHANGES:
        if change == "concept":
            values = after.loss(ERROR_RATE_AFTER, quantiles)
            delays[change] = first_peer_alarm(on_loss, values)
        else:
            values = changed(after, change, stable.x[SETTLED_ROWS - 1])[:, -1]
            delays[change] = first_peer_alarm(copy.deepcopy(settled), values)
    return {"false": false, "delays": delays}


def run(task: tuple[str, str, int, int]) -> tuple[str, str, dict[str, Any]]:
    """One detector on one seed of one stream."""
    detector, stream, seed, stable = task
    rows = stable_rows(stream, REFERENCE_ROWS + stable, seed)
    quantiles = latent_quantiles(stream)
    if detector == "monitor":
        return detector, stream, monitor_round(rows, quantiles)
    return detector, stream, peer_round(detector, seed, rows, quantiles)


def summary(rounds: dict[str, list[dict[str, Any]]], stable: int) -> dict[str, Any]:
    """The figures of one detector; `rounds` holds the seeds of each stream."""
    pooled = [r for stream in STREAMS for r in rounds[stream]]

    def median(some: list[dict[str, Any]], change: str) -> float:
        return statistics.median(
            WITHIN_ROWS if r["delays"][change] is None else r["delays"][change] for r in some
        )

    return {
        "false_alarms_per_10k": {
            s: sum(r["false"] for r in rounds[s]) / (len(rounds[s]) * stable / 10_000)
            for s in STREAMS
        },
        "detected_fraction": {
            c: sum(r["delays"][c] is not None for r in pooled) / len(pooled) for c in CHANGES
        },
        "delay_rows_p50": {c: median(pooled, c) for c in CHANGES},
        "delay_rows_p50_ar_09": {c: median(rounds["ar_09"], c) for c in CHANGES},
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="False alarms and delays of drift detectors.")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--seeds", type=int, default=20)
    # The seeds below were seen while the thresholds were developed.
    parser.add_argument("--first-seed", type=int, default=1_000)
    parser.add_argument("--rows", type=int, default=100_000, help="stable rows per seed and stream")
    parser.add_argument("--only", nargs="*", help="detectors to run, for short rounds")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args(arguments)
    if options.rows < SETTLED_ROWS + WITHIN_ROWS:
        parser.error(f"--rows must be at least {SETTLED_ROWS + WITHIN_ROWS}")
    detectors = options.only or ["monitor", *PEERS]
    tasks = [
        (d, s, seed, options.rows)
        for d in detectors
        for s in STREAMS
        for seed in range(options.first_seed, options.first_seed + options.seeds)
    ]
    rounds: dict[str, dict[str, list[dict[str, Any]]]] = {
        d: {s: [] for s in STREAMS} for d in detectors
    }
    began = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for detector, stream, found in pool.imap(run, tasks):
            rounds[detector][stream].append(found)
    result: dict[str, Any] = {d: summary(rounds[d], options.rows) for d in detectors}
    result["state"] = {
        "seeds": options.seeds,
        "first_seed": options.first_seed,
        "stable_rows": options.rows,
        "reference_rows": REFERENCE_ROWS,
        "within_rows": WITHIN_ROWS,
        "rows_per_false_alarm": ROWS_PER_FALSE_ALARM,
        "seconds": round(time.perf_counter() - began, 1),
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "river": version("river"),
        },
    }
    if "monitor" in rounds:
        seen = [r for s in STREAMS for r in rounds["monitor"][s]]
        result["state"]["monitor_names_it_right"] = {
            c: sum(r["named"][c] for r in seen) / len(seen) for c in CHANGES
        }
        result["state"]["monitor_false_alarms"] = {
            s: sorted(k for r in rounds["monitor"][s] for k in r["kinds"]) for s in STREAMS
        }
        result["state"]["monitor_detected_fraction_by_stream"] = {
            s: {
                c: sum(r["delays"][c] is not None for r in rounds["monitor"][s]) / options.seeds
                for c in CHANGES
            }
            for s in STREAMS
        }
    text = json.dumps(result, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
