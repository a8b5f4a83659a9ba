"""Learning on a device: a snapshot's files and a stock onnxruntime, nothing of this service.

    device = Device(Path("apical-data/store/models/press/snapshots/00000042"))
    probabilities = device.learn(rows, labels)

Needs numpy, onnxruntime and safetensors. The graph and its names are in docs/device.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from safetensors.numpy import load_file

UNKNOWN = -1
"""The label of a row whose label is not known."""


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
        self.sensors = [feature["name"] for feature in manifest["schema"]["features"]]
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
        """Predict rows (B, n) in the sensors' own units, NaN where missing, one after the other,
        each before it is learned; ``labels`` (B,) are class indices or `UNKNOWN`.

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
        given = {
            **self.tensors,
            "rows": row,
            "labels": np.maximum(label, 0),
            "step_size": np.array(self.step_size),
            "steps": np.array(self.steps + 1),
        }
        found = dict(zip(self._outputs, self._session.run(None, given), strict=True))
        if known:
            self.steps += 1
            self.tensors = {
                name.removeprefix("next."): value
                for name, value in found.items()
                if name.startswith("next.")
            }
        return np.asarray(found["probabilities"])
