"""From passes to the figures that are published."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.streams.data import BLOCKS, LATE, LATE_ROWS, PUBLIC
from benchmarks.streams.passes import LATE_METHODS, PACKED, Pass


def summary(passes: list[Pass], streams: list[str], methods: list[str]) -> dict[str, Any]:
    """Every figure that the issue of the learning recipe names, and the passes themselves."""

    def mean(key: str, method: str, stream: str, rows: int = 1, delay: int = 0) -> float:
        found = [
            p.figures[key]
            for p in passes
            if p.task[:2] == (method, stream) and p.task[3:5] == (rows, delay)
        ]
        return float(np.mean(found))

    public = [s for s in streams if s in PUBLIC]
    blocks = [s for s in streams if s in BLOCKS]

    def over(names: list[str], key: str, method: str, rows: int = 1, delay: int = 0) -> float:
        return float(np.mean([mean(key, method, s, rows, delay) for s in names]))

    def deviation(method: str) -> float:
        """Standard error of the mean accuracy over the seeds."""
        seeds = sorted({p.task.seed for p in passes})
        by_seed = [
            np.mean(
                [
                    p.figures["accuracy"]
                    for p in passes
                    if p.task.method == method
                    and p.task.seed == k
                    and p.task[3:5] == (1, 0)
                    and p.task.stream in public
                ]
            )
            for k in seeds
        ]
        return float(np.std(by_seed, ddof=1) / np.sqrt(len(seeds))) if len(seeds) > 1 else 0.0

    keys = ("accuracy", "macro_f1", "log_loss", "calibration_error", "kappa_temporal")
    found: dict[str, Any] = {
        f"mean_{key}": {m: over(public, key, m) for m in methods} for key in keys
    }
    found["standard_error"] = {m: deviation(m) for m in methods}
    found["streams"] = {s: {m: mean("accuracy", m, s) for m in methods} for s in streams}
    found["details"] = {
        s: {m: {key: mean(key, m, s) for key in keys} for m in methods} for s in streams
    }
    found["seconds_a_row"] = {
        m: float(np.median([p.seconds_a_row for p in passes if p.task.method == m]))
        for m in methods
    }
    late_streams = [s for s in LATE if s in streams]
    found["late"] = {
        m: over(late_streams, "accuracy", m, delay=LATE_ROWS)
        for m in methods
        if m in LATE_METHODS and late_streams
    }
    if "shipped_default" not in methods:
        return found
    mine = found["mean_accuracy"]["shipped_default"]
    for peer in ("arf", "hat", "softmax"):
        if peer in methods:
            wins = [
                found["streams"][s]["shipped_default"] > found["streams"][s][peer] for s in public
            ]
            found.setdefault("wins_over", {})[peer] = float(np.mean(wins))
    for name, peer in (("previous", "previous_default"), ("backprop_tuned", "backprop_tuned")):
        if peer in methods:
            found[f"lead_over_{name}"] = mine - found["mean_accuracy"][peer]
    for ours_, theirs, suffix in (
        ("shipped_default", "backprop_same_aids", ""),
        ("with_rehearsal", "backprop_with_rehearsal", "_with_rehearsal"),
    ):
        if ours_ in methods and theirs in methods:
            gaps = [found["streams"][s][theirs] - found["streams"][s][ours_] for s in public]
            found[f"gap_to_backprop_same_aids{suffix}"] = float(np.mean(gaps))
            found[f"worst_gap_same_aids{suffix}"] = float(np.max(gaps))
    found["state_equal"] = {
        str(rows): float(all(p.state_equal for p in passes if p.task.rows == rows))
        for rows in PACKED
    }
    for name, some in (("batch_loss", public), ("batch_loss_blocks", blocks)):
        if some:
            found[name] = {
                str(rows): over(some, "accuracy", "shipped_default")
                - over(some, "accuracy", "shipped_default", rows)
                for rows in PACKED
            }
    return found


def table(found: dict[str, Any], methods: list[str]) -> str:
    """For people: a line a stream, a column a method."""
    lines = ["stream".ljust(16) + "".join(m[:12].rjust(14) for m in methods)]
    for stream, by in found["streams"].items():
        lines.append(stream.ljust(16) + "".join(f"{by[m]:14.3f}" for m in methods))
    for key in ("mean_accuracy", "mean_log_loss", "mean_calibration_error"):
        lines.append(key[:15].ljust(16) + "".join(f"{found[key][m]:14.3f}" for m in methods))
    return "\n".join(lines)
