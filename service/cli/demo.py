"""`apical demo`: a real learner process, a real sensor stream, a peer on the very same rows."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import shutil
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
from service.graph.session import Session
from service.hosting.process import ServerProcess

MODEL = "shuttle"
CLASSES = ("normal", "anomaly")
LAST_ROWS = 1000
HELD_OUT_ROWS = 2000
POISON_ROWS = 1000
SHUTTLE_ROWS = 49_097


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


Part = tuple[list[dict[str, float]], list[str]]


class Stream:
    """River's Shuttle: the rows that teach, a slice held out, and those to be poisoned."""

    def __init__(self, count: int) -> None:
        from river import datasets

        pairs = list(itertools.islice(datasets.Shuttle(), count + HELD_OUT_ROWS + POISON_ROWS))
        rows = [{name: float(value) for name, value in x.items()} for x, _ in pairs]
        labels = [CLASSES[int(y)] for _, y in pairs]
        self.rows, self.labels = rows[:count], labels[:count]
        end = count + HELD_OUT_ROWS
        self.held_out: Part = (rows[count:end], labels[count:end])
        self.poison: Part = (rows[end:], labels[end:])


class Demo:
    """The parts of the demo, in the order in which they run."""

    def __init__(
        self, console: Console, client: Client, folder: Path, stream: Stream, per: int
    ) -> None:
        self.console = console
        self.client = client
        self.folder = folder
        self.stream = stream
        self.per = per
        self.failed = 0
        self.figures: dict[str, Any] = {}

    def learn_beside_river(self) -> None:
        """Every row over HTTP, predicted, then learned; beside river's Hoeffding adaptive tree,
        which sees one row at a time."""
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
            for at in range(0, len(self.stream.rows), self.per):
                rows = self.stream.rows[at : at + self.per]
                labels = self.stream.labels[at : at + self.per]
                started = time.perf_counter()
                answer = self._learn(rows, labels)
                spent += time.perf_counter() - started
                if answer is not None:
                    for label, said in zip(labels, answer.predictions, strict=True):
                        ours.observe(label == CLASSES[1], said == CLASSES[1])
                for row, label in zip(rows, labels, strict=True):
                    theirs.observe(label == CLASSES[1], tree.predict_one(row) == CLASSES[1])
                    tree.learn_one(row, label)  # type: ignore[no-untyped-call]  # it has no types
                progress.update(task, advance=len(rows), ours=ours.value, theirs=theirs.value)
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

    def roll_back_poison(self, replica_url: str) -> None:
        """Flipped labels, the damage on a fixed slice of rows, and the way back."""
        with Client(replica_url) as replica:
            before = self.client.snapshot(MODEL, reason="before the poison")
            f1_before = self._f1(self.client)
            flipped = dict(zip(CLASSES, reversed(CLASSES), strict=True))
            with Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=16),
                MofNCompleteColumn(),
                console=self.console,
            ) as progress:
                rows, labels = self.stream.poison
                task = progress.add_task("every label flipped", total=len(rows))
                for row, label in zip(rows, labels, strict=True):
                    self._learn([row], [flipped[label]])
                    progress.update(task, advance=1)
            f1_after = self._f1(self.client)
            started = time.perf_counter()
            done = self.client.rollback(MODEL, before.version, reason="labels were flipped")
            self._wait_until_served(replica, done["published"])
            seconds = time.perf_counter() - started
            rows, _ = self.stream.held_out
            live, copy = self.client.predict(MODEL, rows), replica.predict(MODEL, rows)
            difference = np.abs(np.array(live.probabilities) - np.array(copy.probabilities)).max()
            self.figures |= {
                "f1_before_poison": f1_before,
                "f1_after_poison": f1_after,
                "f1_after_rollback": self._f1(self.client),
                "f1_replica_after_rollback": self._f1(replica),
                "replica_max_abs_diff": float(difference),
                "seconds_to_replica": seconds,
            }

    def _f1(self, client: Client) -> float:
        """F1 of the anomaly on the held-out rows, none of which ever teaches."""
        rows, labels = self.stream.held_out
        score = F1()
        for label, guess in zip(labels, client.predict(MODEL, rows).predictions, strict=True):
            score.observe(label == CLASSES[1], guess == CLASSES[1])
        return score.value

    def _wait_until_served(self, replica: Client, version: int) -> None:
        deadline = time.monotonic() + 30
        while replica.model(MODEL).snapshot != version:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the replica did not follow to snapshot {version} in 30 s")
            time.sleep(0.02)

    def _learn(self, rows: list[dict[str, float]], labels: list[str]) -> Answer | None:
        try:
            return self.client.learn(MODEL, rows, labels)
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
    type=click.IntRange(2 * LAST_ROWS, SHUTTLE_ROWS - HELD_OUT_ROWS - POISON_ROWS),
    default=20_000,
    show_default=True,
    help="How many rows of the shuttle sensors to stream.",
)
@click.option(
    "--rows-per-request",
    "per",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="How many rows a request sends, with their labels.",
)
@click.option("--keep", is_flag=True, help="Leave the learner running and say what to try.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the figures here.")
def command(rows: int, per: int, keep: bool, out: Path | None) -> None:
    if importlib.util.find_spec("river") is None:
        raise click.ClickException("the demo's rows are river's: pip install 'apical[demo]'")
    console = Console()
    folder = Path(tempfile.mkdtemp(prefix="apical-demo-"))
    configuration = _configuration(folder)
    with contextlib.ExitStack() as stack:
        learner = _start(stack, ["serve", "--config", str(configuration)], folder / "learner.log")
        console.print(f"A learner runs at [bold]{learner.url}[/]")
        store = str(folder / "store")
        replica = _start(
            stack, ["replica", "--store", store, "--poll-s", "0.5"], folder / "replica.log"
        )
        console.print(f"A replica runs at [bold]{replica.url}[/]")
        console.print(f"Their files are in {folder}", soft_wrap=True)
        client = stack.enter_context(Client(learner.url))
        demo = Demo(console, client, folder, Stream(rows), per)
        demo.learn_beside_river()
        demo.answer_from_onnx()
        demo.roll_back_poison(replica.url)
        figures = {**demo.figures, "failed_requests": demo.failed}
        console.print(_summary(figures))
        if out is not None:
            out.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
        if keep:
            _stay(console, learner, replica, demo.stream)
    if not keep:
        shutil.rmtree(folder)
    if demo.failed:
        raise click.ClickException(f"{demo.failed} requests failed")


def _start(stack: contextlib.ExitStack, arguments: list[str], log: Path) -> ServerProcess:
    server = stack.enter_context(ServerProcess(arguments, log))
    server.wait_ready()
    return server


def _stay(console: Console, learner: ServerProcess, replica: ServerProcess, stream: Stream) -> None:
    body = json.dumps({"rows": stream.rows[:1]})
    console.print("\nLearner and replica stay until you press Ctrl-C. Try, in another terminal:\n")
    for line in (
        f"curl -s {learner.url}/v1/models/{MODEL}",
        f"curl -s {replica.url}/v1/models/{MODEL}/batches -d '{body}'",
        f"curl -s {learner.url}/metrics",
        f"apical snapshots list --url {learner.url}",
        f"apical snapshots rollback 2 --reason 'to see it' --url {learner.url}",
        f"{learner.url}/docs   (in a browser)",
    ):
        console.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)
    try:
        learner.process.wait()
    except KeyboardInterrupt:
        console.print("stopping")
