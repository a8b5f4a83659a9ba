"""Poisoned labels and genuine drifts against the gate and the guard, in the full loop.

    python -m benchmarks.guard --json out.json

Each round is one line: the learner learns row by row, every 1,000 updates a snapshot becomes a
candidate, the gate puts it on probation, the guard watches, and on its signal the learner is frozen
and rolled back to the champion, the candidates are discarded. Networks, gate and guard are those of
the service at their defaults, in one process.

Streams: two clusters per class of eight sensors, the noise AR(1) of coefficient 0.6, the class and
the cluster each staying as they were with probability 0.5. The clusters' distance is drawn per
seed, so that the accuracy of a trained network lies between about 85 and 97 percent.

`stable` is 20,000 rows per seed and number of classes, 800,000 in a full round.

Poison begins after 4,000 to 5,000 rows (drawn per seed, so at any phase of the snapshots) and lasts
2,000. `flip_30` and `flip_50`: each row's label becomes another class, uniformly drawn, with
that probability. `flip_100`: a consistent permutation, which no statistic can tell from a concept
that changed; it must not reach a champion in a round in which the guard fires.

Drifts begin at the same rows. In even seeds the clusters move, in odd seeds they stay and half of
them change their class. `abrupt`: at once. `gradual`: over 3,000 rows ever more rows come from the
new concept. `incremental`: the clusters wander for 3,000 rows (in all seeds). `recurring`: old
and new concept by turns of 1,700 rows.

A round that the guard ends is over: its learner is frozen and is the champion again. Rows to the
guard count from the first row of the poison. `poisoned_in_champion` counts rows with a flipped
label in what any champion had learned.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from service.dll import apply, forward, initial
from service.evaluation.gate import Gate
from service.evaluation.guard import Guard
from service.state import Labelled, State, plain

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

SENSORS = 8
CLUSTERS = 2
NOISE_AR = 0.6
STAY = 0.5
SNAPSHOT_EVERY = 1_000
WARM_UP = 4_000
POISON_ROWS = 2_000
GRADUAL_ROWS = 3_000
TURN_ROWS = 1_700
AFTER_ROWS = 7_000
POISONS = ("flip_30", "flip_50", "flip_100")
DRIFTS = ("abrupt", "gradual", "incremental", "recurring")
AHEAD = 64


@dataclass(frozen=True)
class Stream:
    """`x` `(n, 8)`, `labels` `(n,)` as the line sends them, `poisoned` `(n,)`: is it flipped?"""

    x: Array
    labels: Labels
    poisoned: NDArray[np.bool_]
    onset: int


@dataclass
class Round:
    """What happened in one round."""

    onset: int
    rows: int = 0
    accuracy: float = 0.0
    guard_row: int | None = None
    poisoned_in_champion: int = 0
    promotions: int = 0
    rejections: int = 0
    discarded: int = 0
    suspicions: int = 0
    signals: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Snapshot:
    """A frozen network, and how many poisoned rows it learned."""

    state: State
    poisoned: int


class Frozen:
    """A network's predictions, made some rows ahead: it does not change."""

    def __init__(self, snapshot: Snapshot, rows: NDArray[np.float32]) -> None:
        self.snapshot = snapshot
        self._rows = rows
        self._start = self._stop = 0

    def probabilities(self, row: int) -> NDArray[np.float32]:
        """`(1, K)`."""
        if not self._start <= row < self._stop:
            self._start, self._stop = row, row + AHEAD
            self._made = forward(self.snapshot.state, self._rows[row : self._stop])
        return self._made[row - self._start : row - self._start + 1]


def sticky(rng: np.random.Generator, rows: int, values: int) -> Labels:
    """`(rows,)` uniform values that stay with probability `STAY`, else are drawn anew."""
    drawn = rng.integers(values, size=rows)
    fresh = rng.random(rows) >= STAY
    fresh[0] = True
    found: Labels = drawn[np.maximum.accumulate(np.where(fresh, np.arange(rows), 0))]
    return found


def noise(rng: np.random.Generator, rows: int) -> Array:
    """`(rows, 8)` AR(1) of unit variance."""
    found = rng.normal(size=(rows, SENSORS))
    found[1:] *= math.sqrt(1 - NOISE_AR**2)
    for row in range(1, rows):
        found[row] += NOISE_AR * found[row - 1]
    return found


def clusters(rng: np.random.Generator, classes: int, distance: float) -> Array:
    """`(classes * 2, 8)` centres at `distance` from the origin."""
    drawn = rng.normal(size=(classes * CLUSTERS, SENSORS))
    found: Array = drawn / np.linalg.norm(drawn, axis=1, keepdims=True) * distance
    return found


def stream(name: str, classes: int, seed: int, rows: int | None = None) -> Stream:
    """The stream of one round: ``stable``, a drift, or ``flip_<rate>``."""
    rng = np.random.default_rng([seed, classes, 17])
    distance = rng.uniform(2.3, 3.1) if classes == 2 else rng.uniform(3.0, 3.8)
    onset = WARM_UP + int(rng.integers(1_000))
    kind, _, number = name.partition("_")
    over = int(number) if kind == "gradual" and number else GRADUAL_ROWS
    rows = onset + max(AFTER_ROWS, 2 * over) if rows is None else rows
    centres = clusters(rng, classes, distance)
    which = sticky(rng, rows, len(centres))
    labels = which // CLUSTERS
    scatter = noise(rng, rows)
    position = np.arange(rows)
    poisoned = np.zeros(rows, dtype=bool)
    moved = centres[which]
    if kind == "flip":
        rate = int(number) / 100
        inside = (position >= onset) & (position < onset + POISON_ROWS)
        # The next class is a permutation; any other one with equal chance is no concept.
        shift = rng.integers(1, classes, size=rows) if rate < 1 else 1
        poisoned = inside & (rng.random(rows) < rate)
        labels = np.where(poisoned, (labels + shift) % classes, labels)
    elif kind == "incremental":
        share = np.clip((position - onset) / over, 0, 1)[:, None]
        other = clusters(rng, classes, distance)
        moved = (1 - share) * centres[which] + share * other[which]
    elif kind != "stable":
        after = position - onset
        new = {
            "abrupt": after >= 0,
            "gradual": rng.random(rows) < after / over,
            "recurring": (after >= 0) & (after // TURN_ROWS % 2 == 0),
        }[kind]
        if seed % 2 == 0:
            moved = np.where(new[:, None], clusters(rng, classes, distance)[which], moved)
        else:
            # The first cluster of each class goes to the next class.
            changed = np.where(which % CLUSTERS == 0, (labels + 1) % classes, labels)
            labels = np.where(new, changed, labels)
    return Stream(moved + scatter, labels.astype(np.int64), poisoned, onset)


def run(given: Stream, classes: int, seed: int) -> Round:
    """The full loop over one stream."""
    rows = given.x.astype(np.float32)
    labels = given.labels
    state = initial(plain(ranges=((-6.0, 6.0),) * SENSORS, classes=classes, seed=seed))
    learned_poison = 0
    champion = Frozen(Snapshot(state, 0), rows)
    snapshots: dict[int, Frozen] = {}
    gate, guard = Gate(), Guard()
    found = Round(given.onset)
    newest = 1
    right = 0
    for row in range(len(rows)):
        batch = slice(row, row + 1)
        state, reply = apply(state, Labelled(rows[batch], labels[batch]))
        assert reply is not None
        found.rows += 1
        learned_poison += int(given.poisoned[row])
        label, seq = given.labels[batch], state.seq
        probabilities = reply.probabilities
        if given.onset - 2_000 <= row < given.onset:
            right += int(probabilities.argmax() == label[0])
        champions = champion.probabilities(row)
        suspicious = guard.suspicious
        signal = guard.observe(seq, label, probabilities, champions)
        found.suspicions += guard.suspicious and not suspicious
        if signal is not None:
            found.signals.append(asdict(signal) | {"row": row})
            if signal.kind == "guard":
                found.guard_row = row
                found.discarded = len(gate.discard())
                break
        if gate.candidate is not None:
            candidate = snapshots[gate.candidate]
            verdict = gate.observe(
                seq, label, champions, candidate.probabilities(row), hold=guard.suspicious
            )
            if verdict is not None:
                found.promotions += verdict.promoted
                found.rejections += not verdict.promoted
                if verdict.promoted:
                    champion = candidate
                    guard.promoted(gate.candidate_errors)
                    found.poisoned_in_champion = max(
                        found.poisoned_in_champion, candidate.snapshot.poisoned
                    )
        if state.steps % SNAPSHOT_EVERY == 0:
            newest += 1
            snapshots[newest] = Frozen(Snapshot(state, learned_poison), rows)
            gate.enter(newest)
            snapshots = {v: s for v, s in snapshots.items() if v in (gate.candidate, gate.waiting)}
    found.accuracy = right / 2_000
    return found


def job(task: tuple[str, int, int, int]) -> tuple[tuple[str, int, int, int], Round]:
    """One round by (stream, classes, seed, stable rows)."""
    torch.set_num_threads(1)
    name, classes, seed, stable = task
    given = stream(name, classes, seed, stable if name == "stable" else None)
    return task, run(given, classes, seed)


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


def machine() -> dict[str, Any]:
    """What the round ran on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [k for k in cpuinfo.read_text().splitlines() if k.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {"processor": model, "cores": os.cpu_count(), "system": platform.platform()}


def delays(rounds: list[Round]) -> list[int]:
    """Rows from the first poisoned one to the guard, of rounds in which it fired in the poison."""
    found = [r.guard_row - r.onset for r in rounds if r.guard_row is not None]
    return [rows for rows in found if 0 <= rows < POISON_ROWS]


def summary(rounds: dict[tuple[str, int], list[Round]]) -> dict[str, Any]:
    """The figures of the issue, from rounds by (stream, classes)."""
    result: dict[str, dict[str, float | None]] = {
        "rows_to_guard_p50": {},
        "guarded_fraction": {},
        "poisoned_in_champion": {},
        "false_freezes": {},
        "promotions_per_10k": {},
        "false_guards_per_100k": {},
    }
    for (name, classes), some in rounds.items():
        if name.startswith("flip"):
            case = f"{classes}_class_{name}"
            within = delays(some)
            result["rows_to_guard_p50"][case] = statistics.median(within) if within else None
            result["guarded_fraction"][case] = len(within) / len(some)
            result["poisoned_in_champion"][case] = sum(
                r.poisoned_in_champion for r in some if r.guard_row is not None
            )
        elif name != "stable":
            fired = sum(r.guard_row is not None for r in some)
            result["false_freezes"][name] = (result["false_freezes"].get(name) or 0) + fired
    seen = [r for (name, _), some in rounds.items() if name == "stable" for r in some]
    if seen:
        rows = sum(r.rows for r in seen)
        result["promotions_per_10k"]["stable"] = sum(r.promotions for r in seen) / rows * 10_000
        result["false_guards_per_100k"]["stable"] = (
            sum(r.guard_row is not None for r in seen) / rows * 100_000
        )
    return result


def details(some: list[Round]) -> dict[str, Any]:
    """What stands behind the figures of one stream."""
    return {
        "accuracy": [r.accuracy for r in some],
        "guard_rows_after_onset": [
            None if r.guard_row is None else r.guard_row - r.onset for r in some
        ],
        "concept_changed_rows_after_onset": [
            [s["row"] - r.onset for s in r.signals if s["kind"] == "concept_changed"] for r in some
        ],
        "suspicions": sum(r.suspicions for r in some),
        "promotions": sum(r.promotions for r in some),
        "rejections": sum(r.rejections for r in some),
        "rows": sum(r.rows for r in some),
        "guard_signals": [s for r in some for s in r.signals if s["kind"] == "guard"],
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Poison and drift against gate and guard.")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--seeds", type=int, default=20)
    # The seeds below were seen while the thresholds were developed.
    parser.add_argument("--first-seed", type=int, default=5_000)
    parser.add_argument(
        "--stable-rows", type=int, default=20_000, help="per seed and number of classes"
    )
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", nargs="*", help="streams, such as flip_20, gradual_1000, stable")
    parser.add_argument("--classes", nargs="*", type=int, default=[2, 4])
    parser.add_argument("--cost-steps", type=int, default=3_000, help="steps of the cost's round")
    options = parser.parse_args(arguments)
    names = options.only or ["stable", *POISONS, *DRIFTS]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    tasks = [(n, k, s, options.stable_rows) for n in names for k in options.classes for s in seeds]
    rounds: dict[tuple[str, int], list[Round]] = {}
    began = time.perf_counter()
    torch.set_num_threads(1)
    # Before the workers start, for they would share the machine.
    cost = {}
    for batch in (1, 32):
        on, off = shadow_cost(max(options.cost_steps // batch, 30), batch)
        cost[f"{batch}_rows"] = {"ratio": on / off, "on_us": on * 1e6, "off_us": off * 1e6}
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        for task, found in pool.imap(job, tasks):
            rounds.setdefault(task[:2], []).append(found)
    result: dict[str, Any] = summary(rounds)
    result["shadow_cost"] = cost["1_rows"]["ratio"]
    result["state"] = {
        "seeds": options.seeds,
        "first_seed": options.first_seed,
        "stable_rows": options.stable_rows,
        "shadow_cost": cost,
        "streams": {f"{k}_class_{n}": details(some) for (n, k), some in rounds.items()},
        "seconds": round(time.perf_counter() - began, 1),
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": version("torch"),
        },
    }
    text = json.dumps(result, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
