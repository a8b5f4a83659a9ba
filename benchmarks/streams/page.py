"""The tables and the plot of docs/learning.md, made from the published figures.

    python -m benchmarks.streams.page          # needs the extra `pages`

Reads `benchmarks/results/streams.json`, `longrun.json` and `step.json`, as `python -m
benchmarks.streams --json` and its two siblings wrote them.
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks.pages import RESULTS, ROOT, filled, table

PAGE = ROOT / "docs/learning.md"
PLOT = ROOT / "docs/learning.svg"

NAMES = {
    "shipped_default": "**default** (`gain`, `sgd`, `linear`)",
    "with_rehearsal": "default with `rehearsal`",
    "member_gain": "`gain` alone",
    "member_sgd": "`sgd` alone",
    "member_linear": "`linear` alone",
    "previous_default": "one tanh network, fixed Θ, SGD (the default before)",
    "backprop": "backpropagation, that network",
    "backprop_tuned": "backpropagation, ReLU, RMSprop, rehearsal",
    "backprop_same_aids": "backpropagation with the default's aids",
    "backprop_with_rehearsal": "backpropagation with these and rehearsal",
    "arf": "River: adaptive random forest",
    "hat": "River: Hoeffding adaptive tree",
    "softmax": "River: softmax regression",
    "deep_river": "deep-river: 64 ReLU units, SGD",
    "last_label": "repeats the last label",
    "majority": "says the commonest label",
}

SHORT = {
    "shipped_default": "default",
    "with_rehearsal": "with rehearsal",
    "previous_default": "before",
    "backprop_tuned": "backprop tuned",
    "backprop_same_aids": "backprop same aids",
    "arf": "ARF",
    "hat": "HAT",
    "softmax": "softmax",
    "last_label": "last label",
}


def methods(found: dict[str, Any]) -> str:
    keys = ("accuracy", "macro_f1", "log_loss", "calibration_error")
    head = ["method", "accuracy", "± (seeds)", "macro F1", "log-loss", "calibration error"]
    head += ["labels late", "µs a row"]
    rows = []
    for method, name in NAMES.items():
        if method not in found["mean_accuracy"]:
            continue
        figures = [f"{found[f'mean_{key}'][method]:.3f}" for key in keys]
        late = found["late"].get(method)
        rows.append(
            [
                name,
                figures[0],
                f"{found['standard_error'][method]:.4f}",
                *figures[1:],
                "" if late is None else f"{late:.3f}",
                f"{found['seconds_a_row'][method] * 1e6:.0f}",
            ]
        )
    return table(head, rows)


def streams(found: dict[str, Any]) -> str:
    rows = [
        [stream, *(f"{by[method]:.3f}" for method in SHORT)]
        for stream, by in found["streams"].items()
    ]
    return table(["stream", *SHORT.values()], rows)


def packing(found: dict[str, Any]) -> str:
    rows = [
        [
            rows_,
            f"{found['batch_loss'][rows_]:.4f}",
            f"{found['batch_loss_blocks'][rows_]:.4f}",
            "yes" if found["state_equal"][rows_] == 1 else "no",
        ]
        for rows_ in found["state_equal"]
    ]
    head = ["rows a request", "accuracy lost, public", "accuracy lost, block-labelled"]
    return table([*head, "state bitwise the same"], rows)


def goals(found: dict[str, Any]) -> str:
    wins = found["wins_over"]
    lines = [
        ("accuracy of the default", found["mean_accuracy"]["shipped_default"]),
        ("lead over the default before", found["lead_over_previous"]),
        ("lead over tuned backpropagation", found["lead_over_backprop_tuned"]),
        ("backpropagation with the same aids is ahead by", found["gap_to_backprop_same_aids"]),
        ("on the worst stream by", found["worst_gap_same_aids"]),
        ("streams won over adaptive random forest", wins["arf"]),
        ("streams won over Hoeffding adaptive tree", wins["hat"]),
        ("streams won over softmax regression", wins["softmax"]),
    ]
    return table(["figure", "value"], [[name, f"{value:.4f}"] for name, value in lines])


def longrun(found: dict[str, Any]) -> str:
    rows = [
        [
            case,
            f"{found['accuracy_last_over_first'][case]:.4f}",
            f"{found['p_min_eigenvalue'][case]:.2e}",
            f"{found['p_asymmetry'][case]:.0e}",
            str(found["negative_gain_steps"][case]),
        ]
        for case in sorted(found["accuracy_last_over_first"])
    ]
    case = f"case, {found['rows']:,} rows"
    head = [case, "accuracy, last over first", "least eigenvalue of P", "largest P - Pᵀ"]
    return table([*head, "steps with vᵀPv < 0"], rows)


def cost(found: dict[str, Any]) -> str:
    rows = []
    for sensors, by in found.items():
        if sensors == "blocks":
            continue
        ratio, size = by["ratio"], by["state_bytes"]
        for name in ("gain", "default", "with_rehearsal"):
            rows.append(
                [
                    f"{sensors} sensors, {name.replace('_', ' ')}",
                    f"{by['us_a_row'][f'{name}.onnx']:.0f}",
                    f"{ratio[f'{name}.onnx']:.2f}",
                    f"{ratio[f'{name}.torch']:.2f}",
                    f"{size[name] / 1000:.0f}",
                ]
            )
    head = ["", "µs a row, onnx", "over the default before", "the same in torch"]
    return table([*head, "state, kB"], rows)


def blocks(found: dict[str, Any]) -> str:
    rows = [
        [stream, f"{by['one']:.3f}", f"{by['for_each_sensor']:.3f}"]
        for stream, by in found["blocks"].items()
    ]
    return table(["`gain`, accuracy", "one P", "a block for each sensor"], rows)


def page(text: str) -> str:
    """The page with every table between its markers made anew."""
    found = json.loads((RESULTS / "streams.json").read_text())
    tables = {
        "methods": methods(found),
        "streams": streams(found),
        "packing": packing(found),
        "goals": goals(found),
        "longrun": longrun(json.loads((RESULTS / "longrun.json").read_text())),
        "cost": cost(json.loads((RESULTS / "step.json").read_text())),
        "blocks": blocks(json.loads((RESULTS / "step.json").read_text())),
    }
    return filled(text, tables)


def plot() -> None:
    """A line a stream, a dot a method."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "apical"
    from matplotlib import pyplot

    found = json.loads((RESULTS / "streams.json").read_text())["streams"]
    shown = ("softmax", "hat", "arf", "previous_default", "backprop_tuned")
    names = sorted(found, key=lambda stream: found[stream]["shipped_default"])
    figure, axes = pyplot.subplots(figsize=(8, 5.5), layout="constrained")
    for method in shown:
        axes.plot([found[s][method] for s in names], names, "o", ms=4, alpha=0.7, label=method)
    default = [found[s]["shipped_default"] for s in names]
    axes.plot(default, names, "D", ms=6, color="black", label="shipped_default")
    axes.set_xlabel("accuracy of a single pass")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="upper left", fontsize=8)
    figure.savefig(PLOT, metadata={"Date": None})


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
    plot()
