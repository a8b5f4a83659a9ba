"""`apical send`: a file's rows, as a line would send them."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clients import ApicalClientError, Client
from model_store.durable import write_durably
from service.cli.moments import DELAY
from service.cli.options import options
from service.cli.remote import JSON, MODEL, URL, Remote, print_json
from service.cli.said import Failure, say
from service.errors import ConfigurationError
from service.tables.delay import Delay, Late
from service.tables.examples import NAMES, PREFIX, TARGET, bytes_of, is_example, read_example
from service.tables.reading import read
from service.tables.score import Score
from service.tables.sending import Part, late, sendable

PATIENCE_S = 60.0
"""How long a request is sent again before the command gives up; the next one goes on from there."""

SAVE_S = 1.0


@click.command(
    name="send",
    help="Send FILE to a learner as its line would, and show the score. FILE is CSV or Parquet, or "
    f"an example that comes with River: {', '.join(PREFIX + name for name in NAMES)}.",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--target", help=f"The column of labels; of an example {TARGET!r}.")
@click.option(
    "--rows-per-batch", type=click.IntRange(1), default=20, show_default=True, help="At once."
)
@click.option("--rate", type=click.FloatRange(min=0), default=0.0, help="Rows a second; 0: all.")
@click.option(
    "--label-delay",
    type=DELAY,
    default="0",
    show_default=True,
    help="Labels come later: by so many batches, or by a time such as 10m or 2h; 0: with their "
    "rows. A time is that of FILE's column of times; where it has none, the clock's at --rate.",
)
@click.option(
    "--labels",
    "label_file",
    type=click.Path(path_type=Path),
    help="A second file with the labels, sent behind the rows; --key joins the two.",
)
@click.option("--key", help="The column that FILE and --labels have in common.")
@click.option("--line", help="The line's name.")
@click.option("--zone", help="Of times that say none, such as Asia/Tokyo.")
@click.option("--again", is_flag=True, help="From the beginning, under new ids.")
@click.option("--encoding", help="Of the file, where it is found out wrongly; such as cp932.")
@click.option("--separator", help="Of the file's cells, where it is found out wrongly.")
@options(URL, MODEL, JSON)
def command(
    file: Path,
    target: str | None,
    rows_per_batch: int,
    rate: float,
    label_delay: Delay,
    label_file: Path | None,
    key: str | None,
    line: str | None,
    zone: str | None,
    again: bool,
    encoding: str | None,
    separator: str | None,
    url: str,
    model: str | None,
    as_json: bool,
) -> None:
    if (label_file is None) != (key is None):
        raise click.UsageError("expected both --labels and --key, or neither")
    target = target or (TARGET if is_example(file) else None)
    if target is None:
        raise click.UsageError("expected --target with the column of labels, found none")
    remote = Remote(url, model)
    info = remote.ask(lambda client: client.model(remote.model))
    try:
        of_times = None if zone is None else ZoneInfo(zone)
        names = [str(feature["name"]) for feature in info.features]
        table = read_example(file) if is_example(file) else read(file, encoding, separator)
        own = target if label_file is None else None
        values = {str(f["name"]): f.get("values", []) for f in info.features}
        rows = sendable(table, own, names, info.classes, of_times, values)
        for doubt in rows.doubts:
            say(f"mind: {doubt}", err=True)
        behind: list[tuple[int, list[str | None]]] = []
        if label_file is not None and key is not None:
            other = read(label_file, encoding, separator)
            found = late(table, other, key, target, rows_per_batch, info.classes)
            behind = list(found)
    except ConfigurationError as error:
        raise Failure(str(error)) from error
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise click.UsageError(f"--zone: expected such as Asia/Tokyo, found {zone!r}") from error
    if label_delay.seconds and rows.when is None and not rate:
        raise click.UsageError(
            "--label-delay: expected --rate with a time, since the file has no column of times; or "
            "a number of batches"
        )
    sent = _Sent(file, remote.model, rows_per_batch, again)
    score = Score(info.classes)
    if sent.rows:
        say(f"goes on behind row {sent.rows}; --again begins anew", err=True)
    started = time.monotonic()
    try:
        with Client(url, timeout_s=30, retry_for_s=PATIENCE_S) as client, _bar(as_json) as bar:
            task = bar.add_task("", total=rows.rows, completed=sent.rows, said="")
            waiting = Late(label_delay)
            said: dict[int, list[str]] = {}
            for part in rows.parts(sent.rows, rows_per_batch):
                if rate:
                    ahead = (part.start - sent.first) / rate - (time.monotonic() - started)
                    time.sleep(max(0.0, ahead))
                now = None if label_delay else part.labels
                asked = {"columns": part.columns, "batch_id": sent.id(part.start), "line": line}
                about: dict[str, Any] = {**asked, "observed_at": part.observed_at}
                if now is None or not any(now):
                    answer = client.predict(remote.model, **about)
                else:
                    answer = client.learn(remote.model, labels=now, **about)
                score.saw(part.labels, answer.predictions)
                if behind:
                    said[part.start] = answer.predictions
                if label_delay:
                    waiting.add(part, time.monotonic() if rows.when is None else part.at)
                    for due in waiting.due():
                        _label(client, remote.model, sent, due, line)
                # Behind what is labelled: after a stop its labels are sent again, and known.
                unlabelled = waiting.first_row
                end = part.start + len(part.labels)
                sent.reached(end if unlabelled is None else unlabelled)
                bar.update(task, advance=len(part.labels), said=_said(score))
            for at, due in waiting.rest():
                if rows.when is None and label_delay.seconds:
                    time.sleep(max(0.0, at - time.monotonic()))
                _label(client, remote.model, sent, due, line)
                sent.reached(due.start + len(due.labels))
            sent.reached(rows.rows, save=True)
            for start, labels in behind:
                client.label(remote.model, sent.id(start), labels, line=line)
                if start in said:  # by this run of the command, not by one before it
                    score.saw(labels, said[start])
    except ApicalClientError as error:
        sent.save()
        raise Failure(f"{error}; the same command goes on behind row {sent.rows}") from error
    except KeyboardInterrupt:
        sent.save()
        raise Failure(f"stopped; the same command goes on behind row {sent.rows}") from None
    _tell(score, remote.model, time.monotonic() - started, as_json)


class _Sent:
    """How far a file has got, kept beside it, and the ids of its batches."""

    def __init__(self, file: Path, model: str, size: int, again: bool) -> None:
        self._path = file.with_name(f".{file.name}.{model}.sent")
        digest = hashlib.sha256(bytes_of(file)).hexdigest()[:12]
        known: dict[str, Any] = {}
        if self._path.exists():
            try:
                known = json.loads(self._path.read_text("utf-8"))
            except ValueError:
                known = {}
        same = known.get("file") == digest and known.get("rows_per_batch") == size
        if not same or again:
            turn = int(known.get("turn", -1)) + 1
            known = {"file": digest, "rows_per_batch": size, "turn": turn, "rows": 0}
        self._known = known
        self.first = self.rows
        self._saved = time.monotonic()

    @property
    def rows(self) -> int:
        """Sent, and labelled."""
        return int(self._known["rows"])

    def id(self, start: int) -> str:
        """Of the batch that begins with a row: the same however often it is sent."""
        return f"{self._known['file']}-{self._known['turn']}-{start:09d}"

    def reached(self, rows: int, save: bool = False) -> None:
        self._known["rows"] = rows
        if save or time.monotonic() - self._saved > SAVE_S:
            self.save()

    def save(self) -> None:
        write_durably(self._path, json.dumps(self._known).encode())
        self._saved = time.monotonic()


def _label(client: Client, model: str, sent: _Sent, part: Part, line: str | None) -> None:
    if any(part.labels):
        client.label(
            model, sent.id(part.start), part.labels, line=line, observed_at=part.observed_at
        )


def _bar(quiet: bool) -> Progress:
    return Progress(
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True, quiet=quiet),
    )


def _said(score: Score) -> str:
    return (
        f"{score.accuracy():.3f} right (last label {score.accuracy('last'):.3f}, "
        f"majority {score.accuracy('majority'):.3f})"
    )


def _tell(score: Score, model: str, seconds: float, as_json: bool) -> None:
    by_class = {label: round(score.f1(label), 4) for label in score.classes}
    if as_json:
        print_json(
            {
                "model": model,
                "rows": score.rows,
                "seconds": round(seconds, 1),
                "accuracy": round(score.accuracy(), 4),
                "last_label_accuracy": round(score.accuracy("last"), 4),
                "majority_accuracy": round(score.accuracy("majority"), 4),
                "macro_f1": round(score.macro_f1, 4),
                "f1": by_class,
            }
        )
        return
    say(f"{score.rows} labelled rows in {seconds:.1f} s, each predicted before it taught:")
    say(f"  accuracy     {score.accuracy():.4f}")
    say(f"  last label   {score.accuracy('last'):.4f}   saying it again")
    say(f"  majority     {score.accuracy('majority'):.4f}   saying the most frequent one")
    say(f"  macro F1     {score.macro_f1:.4f}")
    for label, f1 in by_class.items():
        say(f"  F1 of {label}: {f1:.4f}")
