"""The tables and the plot of docs/performance.md and docs/device.md, from the published figures.

    python -m benchmarks.performance_page          # needs the extra `pages`

Reads `updates.json`, `latency.json`, `scale.json`, `sizing.json` and `portability.json` of
`benchmarks/results`, as the benchmarks of these names wrote them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.pages import RESULTS, ROOT, filled, table

PLOT = ROOT / "docs/performance.svg"

CURVES = {
    "update_parameters": "an update, by weights",
    "update_rows": "an update, by its rows",
    "replay_events": "a replay, by events",
    "snapshot_events": "a snapshot, by events behind it",
    "models_start": "a start, by models",
}
VARIANTS = {
    "replica_json": "replica, JSON rows",
    "replica_columns": "replica, JSON columns",
    "learner_unlabelled": "learner, unlabelled",
    "learner_labelled": "learner, labelled",
    "mlserver_inline": "MLServer, inline",
    "mlserver_default": "MLServer, as it comes",
}


def updates(found: dict[str, Any]) -> str:
    """Medians of one process, in turns."""
    head = ["one update", "rows", "µs", "of autograd's", "of deep-river's"]
    rows = []
    for name, case in (("plain", found), *((n, found[n]) for n in ("default_9", "default_52"))):
        for count in (1, 32, 256):
            f = case[f"rows_{count}"]
            ratios = [f"{f[f'ratio_to_{peer}']:.2f}" for peer in ("autograd", "deep_river")]
            rows.append([f"`{name}`", str(count), f"{f['us']:.0f}", *ratios])
    return table(head, rows)


def latency(found: dict[str, Any]) -> str:
    """Sixteen at once, and one alone."""
    head = ["16 requests at once", "rows", "of a bare reply's rate", "of MLServer's, inline",
            "of MLServer's, as it comes", "p50 ms", "p99 ms", "alone: p50 ms"]  # fmt: skip
    rows = []
    for name, said in VARIANTS.items():
        for count in ("1", "32", "256"):
            f, alone = found[name][count]["16"], found[name][count]["1"]
            ratios = [
                f[f"ratio_to_{p}"] for p in ("ceiling", "mlserver_inline", "mlserver_default")
            ]
            rows.append([said, count, f"{ratios[0]:.3f}", *(f"{r:.2f}" for r in ratios[1:]),
                         f"{f['p50_ms']:.2f}", f"{f['p99_ms']:.2f}",
                         f"{alone['p50_ms']:.2f}"])  # fmt: skip
    return table(head, rows)


def scale(found: dict[str, Any]) -> str:
    """Exponents, memory, replay."""
    rows = [[said, f"{found['exponents'][key]:.2f}", "≤ 1.1"] for key, said in CURVES.items()]
    rows += [
        ["a learner of 1,000 small networks, MiB", f"{found['models_1000_mib']:.0f}", "≤ 700"],
        ["a replica, MiB", f"{found['replica_mib']:.0f}", "≤ 120"],
        ["its memory after 10,000 swaps, over before", f"{found['replica_swap_ratio']:.3f}",
         "≤ 1.05"],
        ["events a second replayed, over commit 6ef8b03",
         f"{found['replay_events_per_s_ratio']:.2f}", "≥ 4"],
    ]  # fmt: skip
    return table(["how it grows (exponent), and what it takes", "found", "goal"], rows)


def sizing(found: dict[str, Any]) -> str:
    """What one labelled row takes."""
    head = ["recipe", "sensors", "rows a request", "processor ms a row", "rows a second of a core",
            "log bytes a row", "snapshot kB", "memory MiB"]  # fmt: skip
    rows = []
    for recipe, by_sensors in found.items():
        for sensors, by_packing in by_sensors.items():
            for packed, f in by_packing.items():
                rows.append([recipe, sensors, packed, f"{f['cpu_ms_a_row']:.2f}",
                             f"{f['rows_per_core_s']:,.0f}", f"{f['log_bytes_a_row']:,.0f}",
                             f"{f['snapshot_bytes'] / 1000:.0f}",
                             f"{f['resident_mib']:.0f}"])  # fmt: skip
    return table(head, rows)


def portability(found: dict[str, Any]) -> str:
    """The largest difference, and the share of equal classes."""
    others = {"onnxruntime": "onnxruntime alone", "torch": "torch", "onnxruntime_web": "web"}
    rows = []
    for recipe, by_steps in found.items():
        for steps, by_runtime in by_steps.items():
            if steps != "one_step":
                figures = [by_runtime[who] for who in others]
                told = [f"{f['difference']:.1e}, {f['equal']:.3f}" for f in figures]
                rows.append([recipe, f"{int(steps):,}", *told])
    return table(["recipe", "steps", *others.values()], rows)


PAGES = {
    ROOT / "docs/performance.md": (updates, latency, scale, sizing),
    ROOT / "docs/device.md": (portability,),
}


def page(path: Path) -> str:
    """A page with every table made anew."""
    tables = {maker.__name__: maker(_published(maker.__name__)) for maker in PAGES[path]}
    return filled(path.read_text("utf-8"), tables)


def _published(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def plot() -> None:
    """The curves of `benchmarks.scale`, each over its first point."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "apical"
    from matplotlib import pyplot

    points = _published("scale")["points"]
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for key, said in CURVES.items():
        x0, y0 = points[key][0]
        axes.loglog([x / x0 for x, _ in points[key]], [y / y0 for _, y in points[key]], "o-",
                    ms=4, label=said)  # fmt: skip
    axes.loglog([1, 1e4], [1, 1e4], ":", color="grey", label="linear")
    axes.set_xlabel("times as large")
    axes.set_ylabel("times as long")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(PLOT, metadata={"Date": None})


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(page(path), "utf-8")
    plot()
