"""Learning on a device: a snapshot's files and a stock onnxruntime, nothing of this service.

    device = Device(Path("apical-data/store/models/press/snapshots/00000042"))
    probabilities = device.learn(rows, labels)

Repeating what a learner did, from `apical export events.jsonl --after SEQ`, and comparing:

    python device.py SNAPSHOT events.jsonl [ANOTHER_SNAPSHOT]

Needs numpy, onnxruntime and safetensors. The graph and its names are in docs/device.md;
`device.mjs` is the same in JavaScript.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from safetensors.numpy import load_file

UNKNOWN = -1
"""The label of a row whose label is not known."""

COMPARED_ROWS = 1000
"""The last rows of an export, which both states are asked about."""


class Device:
    """A learner that a snapshot began.

    Parameters
    ----------
    folder
        With `step.onnx`, `state.safetensors` and `manifest.json`.

    Raises
    ------
    FileNotFoundError
        A snapshot without `step.onnx`: its learner does what the graph cannot.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "step.onnx").is_file():
            raise FileNotFoundError(f"{folder}: expected step.onnx among its files, found none")
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        features = manifest["schema"]["features"]
        self.sensors = [feature["name"] for feature in features]
        self.values = [list(feature.get("values", ())) for feature in features]
        self.classes = list(manifest["schema"]["classes"])
        self.tensors: dict[str, NDArray[Any]] = load_file(folder / "state.safetensors")
        self.seq: int = manifest["seq"]
        self.steps: int = manifest["updates"]
        self.step_size: float = manifest["step_size"]
        self.frozen: bool = manifest["frozen"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(folder / "step.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [output.name for output in self._session.get_outputs()]

    def learn(self, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Predict rows (B, n) in the sensors' own units, of a category the index of its value, NaN
        where missing, one after the other, each before it is learned; ``labels`` (B,) are class
        indices or `UNKNOWN`.

        Returns
        -------
        (B, K) probabilities. They are not those of a learner's reply, which knows none of the
        request's labels yet.
        """
        self.seq += 1
        return np.concatenate(
            [self._row(rows[at : at + 1], labels[at : at + 1]) for at in range(len(rows))]
        )

    def _row(self, row: NDArray[np.float32], label: NDArray[np.int64]) -> NDArray[np.float32]:
        known = label[0] != UNKNOWN and not self.frozen
        found = self._stepped(row, label)
        if known:
            self.steps += 1
            # Fixed feedback weights are not among them.
            self.tensors |= {
                name.removeprefix("next."): value
                for name, value in found.items()
                if name.startswith("next.")
            }
        return np.asarray(found["probabilities"])

    def apply(self, event: dict[str, Any]) -> None:
        """What one line of `apical export` says.

        Raises
        ------
        ValueError
            Events are missing before it, or it takes another snapshot's state.
        """
        kind, seq = event["kind"], event["seq"]
        if seq != self.seq + 1:
            raise ValueError(f"expected event {self.seq + 1} next, found {seq}")
        if kind in ("rollback", "rebase"):
            raise ValueError(
                f"event {seq}: expected no {kind}; go on from snapshot {event['snapshot']}"
            )
        if kind in ("batch", "late"):
            labels = [UNKNOWN if label is None else label for label in event["labels"]]
            self.learn(self.rows(event["rows"]), np.array(labels, np.int64))
            return
        self.seq = seq
        if kind in ("freeze", "thaw"):
            self.frozen = kind == "freeze"
        elif kind == "step_size":
            self.step_size = event["step_size"]

    def rows(self, said: list[list[float | str | None]]) -> NDArray[np.float32]:
        """Rows (B, n) as `learn` takes them, of rows as an export has them: a category's value by
        name, None where missing. A value that the model does not know is missing."""
        return np.array(
            [[self._reading(*each) for each in enumerate(row)] for row in said], np.float32
        )

    def _reading(self, column: int, said: float | str | None) -> float:
        known = self.values[column]
        if isinstance(said, str):
            return known.index(said) if said in known else np.nan
        return np.nan if said is None else said

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (B, K) of rows (B, n); nothing is learned."""
        said = [self._stepped(row[None], np.array([UNKNOWN]))["probabilities"] for row in rows]
        return np.concatenate(said)

    def _stepped(
        self, row: NDArray[np.float32], label: NDArray[np.int64]
    ) -> dict[str, NDArray[Any]]:
        given = {
            **self.tensors,
            "rows": row,
            "labels": np.maximum(label, 0),
            "step_size": np.array(self.step_size),
            "steps": np.array(self.steps + 1),
        }
        return dict(zip(self._outputs, self._session.run(None, given), strict=True))


def audit(snapshot: Path, lines: Path, other: Path | None = None) -> dict[str, Any]:
    """Go through an export, beginning behind ``snapshot``; how far the end is from ``other``."""
    device = Device(snapshot)
    first = device.seq
    end = Device(other) if other is not None else None
    rows, last = 0, deque[list[float | str | None]](maxlen=COMPARED_ROWS)
    with lines.open(encoding="utf-8") as file:
        for event in map(json.loads, file):
            if event["seq"] <= device.seq or (end is not None and event["seq"] > end.seq):
                continue
            device.apply(event)
            rows += len(event.get("rows", []))
            last += event.get("rows", [])
    said: dict[str, Any] = {"seq": device.seq, "steps": device.steps, "rows": rows}
    if end is None:
        return said
    if (device.seq, device.steps) != (end.seq, end.steps):
        raise ValueError(f"expected events up to {end.seq}, found the last at {device.seq}")
    differences = [np.abs(device.tensors[n] - end.tensors[n]).max() for n in end.tensors]
    if not last:
        raise ValueError(f"expected rows between events {first} and {end.seq}, found none")
    asked = device.rows([*last])
    alike = device.predict(asked).argmax(1) == end.predict(asked).argmax(1)
    return {**said, "difference": float(max(differences)), "equal": float(alike.mean())}


if __name__ == "__main__":
    print(json.dumps(audit(*map(Path, sys.argv[1:]))))
