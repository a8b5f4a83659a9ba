"""Poisoned labels and genuine drifts against the gate and the guard, in the full loop.

    python -m benchmarks.guard --json out.json

Each round is one stream: the learner learns row by row, every 1,000 labelled rows a snapshot
becomes a candidate, and the service's own steward decides. A round that the guard ends is over: its
learner is frozen. Streams are those of `benchmarks.guard.streams`.

`stable` is 20,000 clean rows per seed and number of classes. Poison begins after 4,000 to 5,000
rows (6,000 to 7,000 in `blocks` and `late_regimes`), drawn per seed, and lasts 2,000; that of a
line never ends. `flip_30` and `flip_50`: each row's label becomes another class, uniformly drawn,
with that probability. `flip_100`: a consistent permutation, which no statistic can tell from a
concept that changed; it must not reach a champion in a round in which the guard fires.

Drifts begin at the same rows. In even seeds the clusters move, in odd seeds they stay and half of
them change their class. `abrupt`: at once. `gradual`: over 3,000 rows ever more rows come from the
new concept. `incremental`: the clusters wander for 3,000 rows (in all seeds). `recurring`: old
and new concept by turns of 1,700 rows.

Keys: the `old` family at one row a request keeps those of before, `<classes>_class_<poison>`, a
drift's name, and `stable`; the others are `<family>.<rows>`, and for poison
`<family>.<rows>.<classes>_class_<poison>`. `false_freezes` counts rounds, over all clean streams
of a family. Rows to the guard count from the first row of the poison. `poisoned_in_champion`
counts rows with a flipped label in what any champion had learned before the guard fired.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import structlog
import torch

from benchmarks.guard.cost import shadow_cost
from benchmarks.guard.loop import Round, run
from benchmarks.guard.streams import DRIFTS, FAMILIES, POISON_ROWS, POISONS, family_stream
from benchmarks.output import machine

PACKED = (1, 20, 100)
"""Rows a request."""

FAMILY_CASES = ("stable", "flip_30", "flip_50")
"""Of the families other than the old one at one row."""


class Task(NamedTuple):
    """One round."""

    family: str
    batch: int
    case: str
    classes: int
    seed: int
    stable_rows: int

    @property
    def where(self) -> str:
        """The family and its packing in a key; nothing for the old one at one row."""
        return "" if (self.family, self.batch) == ("old", 1) else f"{self.family}.{self.batch}"


def job(task: Task) -> tuple[Task, Round]:
    """One round, quietly."""
    torch.set_num_threads(1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    rows = task.stable_rows if task.case == "stable" else None
    given = family_stream(task.family, task.case, task.classes, task.seed, task.batch, rows)
    return task, run(given, task.classes, task.seed, task.batch)


def delays(rounds: list[Round]) -> list[int]:
    """Rows from the first poisoned one to the guard, of rounds in which it fired in the poison."""
    found = [r.guard_row - r.onset for r in rounds if r.guard_row is not None]
    return [rows for rows in found if 0 <= rows < POISON_ROWS]


def poisons(where: str, some: dict[tuple[str, int], list[Round]]) -> dict[str, dict[str, Any]]:
    """The figures of poisoned streams, by key."""
    result: dict[str, dict[str, Any]] = defaultdict(dict)
    for (case, classes), rounds in some.items():
        if not case.startswith("flip"):
            continue
        key = f"{where}.{classes}_class_{case}" if where else f"{classes}_class_{case}"
        within = delays(rounds)
        result["rows_to_guard_p50"][key] = statistics.median(within) if within else None
        result["guarded_fraction"][key] = len(within) / len(rounds)
        if where.startswith("lines"):
            named = sum(bool(r.line_named) for r in rounds)
            result["line_named_fraction"][key] = named / len(rounds)
        result["poisoned_in_champion"][key] = sum(
            r.poisoned_in_champion for r in rounds if r.guard_row is not None
        )
    return result


def cleans(where: str, some: dict[tuple[str, int], list[Round]]) -> dict[str, dict[str, Any]]:
    """The figures of clean streams, by key."""
    result: dict[str, dict[str, Any]] = defaultdict(dict)
    for (case, _), rounds in some.items():
        if not case.startswith("flip") and (where or case != "stable"):
            key = where or case
            fired = sum(r.guard_row is not None for r in rounds)
            result["false_freezes"][key] = result["false_freezes"].get(key, 0) + fired
    stable = [r for (case, _), rounds in some.items() if case == "stable" for r in rounds]
    if stable:
        key, rows = where or "stable", sum(r.rows for r in stable)
        firsts = [r.first_promotion for r in stable]
        result["promotions_per_10k"][key] = sum(r.promotions for r in stable) / rows * 10_000
        result["false_guards_per_100k"][key] = (
            sum(r.guard_row is not None for r in stable) / rows * 100_000
        )
        result["concept_alarms_per_100k"][key] = (
            sum(s["signal"] == "concept_changed" for r in stable for s in r.signals) / rows * 1e5
        )
        if where.startswith("lines"):
            quarantined = sum(r.clean_rows_quarantined for r in stable)
            result["clean_rows_quarantined_per_100k"][key] = quarantined / rows * 1e5
        result["first_promotion_rows_max"][key] = None if None in firsts else max(firsts)
    return result


def summary(rounds: dict[Task, Round]) -> dict[str, Any]:
    """The figures, each a table by key."""
    wheres: dict[str, dict[tuple[str, int], list[Round]]] = {}
    for task, found in rounds.items():
        cases = wheres.setdefault(task.where, {})
        cases.setdefault((task.case, task.classes), []).append(found)
    result: dict[str, dict[str, Any]] = defaultdict(dict)
    for where, some in wheres.items():
        for part in (poisons(where, some), cleans(where, some)):
            for name, table in part.items():
                result[name] |= table
    return dict(result)


def told_after(found: Round) -> list[int]:
    """Rows from the onset to each word of a concept that changed."""
    told = [s["row"] for s in found.signals if s["signal"] == "concept_changed"]
    return [row - found.onset for row in told]


def details(some: list[Round]) -> dict[str, Any]:
    """What stands behind the figures of one stream."""
    return {
        "accuracy": [r.accuracy for r in some],
        "guard_rows_after_onset": [
            None if r.guard_row is None else r.guard_row - r.onset for r in some
        ],
        "concept_changed_rows_after_onset": [
            [s["row"] - r.onset for s in r.signals if s["signal"] == "concept_changed"]
            for r in some
        ],
        "suspicions": sum(r.suspicions for r in some),
        "promotions": sum(r.promotions for r in some),
        "rejections": sum(r.rejections for r in some),
        "rows": sum(r.rows for r in some),
        "guard_signals": [s for r in some for s in r.signals if s["signal"] == "guard"],
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
    parser.add_argument("--only", nargs="*", help="cases, such as flip_20, gradual_1000, stable")
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--rows", nargs="*", type=int, default=list(PACKED), help="a request")
    parser.add_argument("--classes", nargs="*", type=int, default=[2, 4])
    parser.add_argument("--cost-steps", type=int, default=3_000, help="steps of the cost's round")
    options = parser.parse_args(arguments)
    tasks = [
        Task(family, batch, case, classes, options.first_seed + seed, options.stable_rows)
        for family in options.families
        for batch in options.rows
        for case in options.only or cases_of(family, batch)
        for classes in options.classes
        for seed in range(options.seeds)
    ]
    began = time.perf_counter()
    torch.set_num_threads(1)
    # Before the workers start, for they would share the machine.
    cost = {}
    for batch in (1, 32):
        on, off = shadow_cost(max(options.cost_steps // batch, 30), batch)
        cost[f"{batch}_rows"] = {"ratio": on / off, "on_us": on * 1e6, "off_us": off * 1e6}
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        rounds = dict(pool.imap_unordered(job, tasks))
    grouped: dict[str, list[Round]] = {}
    for task in tasks:
        key = ".".join(p for p in (task.where, f"{task.classes}_class_{task.case}") if p)
        grouped.setdefault(key, []).append(rounds[task])
    result = summary({task: rounds[task] for task in tasks})
    result["shadow_cost"] = cost["1_rows"]["ratio"]
    result["state"] = {
        "seeds": options.seeds,
        "first_seed": options.first_seed,
        "stable_rows": options.stable_rows,
        "shadow_cost": cost,
        "streams": {key: details(some) for key, some in grouped.items()},
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


def cases_of(family: str, batch: int) -> tuple[str, ...]:
    """What a family is run on: the old one at one row also on drifts and consistent flips."""
    if (family, batch) == ("old", 1):
        return ("stable", *POISONS, *DRIFTS)
    return FAMILY_CASES
