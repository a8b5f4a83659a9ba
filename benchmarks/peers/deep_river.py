"""deep-river's classifier over a pipe, from an environment of its own.

The far side is this module run as a program there: a line of JSON in, a line of JSON out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.environment import python
from benchmarks.streams.data import Stream

STEP = 0.05
"""Chosen like the settings of all other methods, on the streams of seeds 100 to 102; see
docs/learning.md."""


class DeepRiver:
    """A network of 64 ReLU units behind River's scaler, SGD, one step a row: a method."""

    def __init__(
        self, stream: Stream, seed: int, step: float = STEP, optimiser: str = "sgd"
    ) -> None:
        root = Path(__file__).parents[2]
        self._far = subprocess.Popen(
            [str(python("deep-river")), "-W", "ignore", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        given = {"sensors": stream.x.shape[1], "classes": stream.classes, "seed": seed}
        self._tell({**given, "step": step, "optimiser": optimiser})

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.array(self._tell({"rows": rows.tolist()}), np.float32)

    def learn(self, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
        told = self._tell({"rows": rows.tolist(), "labels": labels.tolist()})
        return np.array(told, np.float32)

    def _tell(self, what: dict[str, Any]) -> Any:
        assert self._far.stdin is not None
        assert self._far.stdout is not None
        self._far.stdin.write(json.dumps(what) + "\n")
        self._far.stdin.flush()
        return json.loads(self._far.stdout.readline())

    def __del__(self) -> None:
        for pipe in (self._far.stdin, self._far.stdout):
            if pipe is not None:
                pipe.close()
        self._far.kill()
        self._far.wait()


def _serve() -> None:
    import torch
    from deep_river.classification import Classifier
    from river import compose, preprocessing

    from benchmarks.streams.peers import River

    torch.set_num_threads(1)
    given = json.loads(sys.stdin.readline())
    torch.manual_seed(given["seed"])
    network = torch.nn.Sequential(
        torch.nn.Linear(given["sensors"], 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, given["classes"]),
    )
    classifier = Classifier(
        module=network,
        loss_fn="cross_entropy",
        optimizer_fn=given["optimiser"],
        lr=given["step"],
        output_is_logit=True,
        seed=given["seed"],
    )
    # It learns from the first row on what there is to tell apart: as many outputs as classes.
    classifier.observed_classes.update(range(given["classes"]))
    method = River(
        compose.Pipeline(preprocessing.StandardScaler(), classifier),
        given["sensors"],
        given["classes"],
    )
    print("{}", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        rows = np.array(asked["rows"], np.float32)
        labels = asked.get("labels")
        said = method.predict(rows) if labels is None else method.learn(rows, np.array(labels))
        print(json.dumps(said.tolist()), flush=True)


if __name__ == "__main__":
    _serve()
