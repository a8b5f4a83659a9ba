"""`apical demo`: a real learner process, a real sensor stream, a peer on the very same rows."""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from clients import Answer, ApicalClientError, Client
from service.cli.processes import ServerProcess
from service.session import Session

MODEL = "shuttle"
CLASSES = ("normal", "anomaly")
LAST_ROWS = 1000


@dataclass
class F1:
    """Prequential F1 of the anomaly, from its counts."""

    hits: int = 0
    claims: int = 0
    cases: int = 0

    def observe(self, label: bool, predicted: bool) -> None:
        self.hits += label and predicted
        self.claims += predicted
        self.cases += label

    @property
    def value(self) -> float:
        return 2 * self.hits / max(1, self.claims + self.cases)


@dataclass
class Stream:
    """The first rows of river's Shuttle, with their labels as class names."""

    rows: list[dict[str, float]]
    labels: list[str]

    @classmethod
    def first(cls, count: int) -> Stream:
        from river import datasets

        pairs = list(itertools.islice(datasets.Shuttle(), count))
        return cls(
            [{name: float(value) for name, value in x.items()} for x, _ in pairs],
            [CLASSES[int(y)] for _, y in pairs],
        )


class Demo:
    """The parts of the demo, in the order in which they run."""

    def __init__(self, console: Console, client: Client, folder: Path, stream: Stream) -> None:
        self.console = console
        self.client = client
        self.folder = folder
        self.stream = stream
        self.failed = 0
        self.figures: dict[str, Any] = {}

    def learn_beside_river(self) -> None:
        """Every row over HTTP, predicted, then learned; beside river's Hoeffding adaptive tree."""
        from river.tree import HoeffdingAdaptiveTreeClassifier

        tree = HoeffdingAdaptiveTreeClassifier(seed=1)
        ours, theirs = F1(), F1()
        spent = 0.0
        with Progress(
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn(
                "F1 [bold green]{task.fields[ours]:.3f}[/] "
                "(Hoeffding tree {task.fields[theirs]:.3f})"
            ),
            TimeElapsedColumn(),
            console=self.console,
        ) as progress:
            task = progress.add_task("", total=len(self.stream.rows), ours=0.0, theirs=0.0)
            for row, label in zip(self.stream.rows, self.stream.labels, strict=True):
                started = time.perf_counter()
                answer = self._learn(row, label)
                spent += time.perf_counter() - started
                is_anomaly = label == CLASSES[1]
                if answer is not None:
                    ours.observe(is_anomaly, answer.predictions[0] == CLASSES[1])
                guess = tree.predict_one(row)
                theirs.observe(is_anomaly, guess == CLASSES[1])
                tree.learn_one(row, label)
                progress.update(task, advance=1, ours=ours.value, theirs=theirs.value)
        self.figures |= {
            "rows": len(self.stream.rows),
            "f1": ours.value,
            "f1_river_hat": theirs.value,
            "rows_per_s": len(self.stream.rows) / spent,
        }

    def answer_from_onnx(self) -> None:
        """Snapshot, then the last rows from the ONNX file against the learner's own answers."""
        snapshot = self.client.snapshot(MODEL, reason="demo")
        rows = self.stream.rows[-LAST_ROWS:]
        live = self.client.predict(MODEL, rows)
        if live.seq != snapshot.seq:
            raise RuntimeError(f"expected answers at seq {snapshot.seq}, found {live.seq}")
        path = (
            self.folder
            / "store"
            / "models"
            / MODEL
            / "snapshots"
            / f"{snapshot.version:08d}"
            / "model.onnx"
        )
        features = [f["name"] for f in self.client.model(MODEL).features]
        readings = np.array([[row[name] for name in features] for row in rows], np.float32)
        ours = Session(path.read_bytes()).probabilities(readings)
        theirs = np.array(live.probabilities, np.float32)
        self.figures |= {
            "onnx_max_abs_diff": float(np.abs(ours - theirs).max()),
            "snapshots": len(self.client.snapshots(MODEL)),
            "updates": self.client.model(MODEL).raw["updates"],
        }

    def _learn(self, row: dict[str, float], label: str) -> Answer | None:
        try:
            return self.client.learn(MODEL, [row], [label])
        except ApicalClientError as error:
            self.failed += 1
            self.console.print(f"[red]request failed:[/] {error}")
            return None


def _configuration(folder: Path) -> Path:
    model = files("service.cli").joinpath("shuttle.toml").read_text("utf-8")
    path = folder / "apical.toml"
    store, log = json.dumps(str(folder / "store")), json.dumps(str(folder / "log"))
    path.write_text(f"[storage]\nstore = {store}\nlog = {log}\n\n{model}", "utf-8")
    return path


def _summary(figures: dict[str, Any]) -> Table:
    table = Table(title="What the demo measured")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        table.add_row(name, shown)
    return table


@click.command(help="Stream real sensors through a learner and watch it learn.")
@click.option(
    "--rows",
    type=click.IntRange(2 * LAST_ROWS, 49_097),
    default=20_000,
    show_default=True,
    help="How many rows of the shuttle sensors to stream.",
)
@click.option("--keep", is_flag=True, help="Leave the learner running and say what to try.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the figures here.")
def command(rows: int, keep: bool, out: Path | None) -> None:
    console = Console()
    folder = Path(tempfile.mkdtemp(prefix="apical-demo-"))
    configuration = _configuration(folder)
    learner = ServerProcess(["serve", "--config", str(configuration)], folder / "learner.log")
    try:
        learner.wait_ready()
        console.print(f"A learner runs at [bold]{learner.url}[/]; its files are in {folder}.")
        with Client(learner.url) as client:
            demo = Demo(console, client, folder, Stream.first(rows))
            demo.learn_beside_river()
            demo.answer_from_onnx()
        figures = {**demo.figures, "failed_requests": demo.failed}
        console.print(_summary(figures))
        if out is not None:
            out.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
        if keep:
            _stay(console, learner, demo.stream)
    finally:
        learner.stop()
    if demo.failed:
        raise click.ClickException(f"{demo.failed} requests failed")


def _stay(console: Console, learner: ServerProcess, stream: Stream) -> None:
    body = json.dumps({"rows": stream.rows[:1]})
    console.print(f"\nThe learner stays at {learner.url} until you press Ctrl-C. Try:\n")
    for line in (
        f"curl -s {learner.url}/v1/models/{MODEL}",
        f"curl -s {learner.url}/v1/models/{MODEL}/batches -d '{body}'",
        f"curl -s {learner.url}/metrics",
        f"{learner.url}/docs   (in a browser)",
    ):
        console.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)
    try:
        learner.process.wait()
    except KeyboardInterrupt:
        console.print("stopping")
