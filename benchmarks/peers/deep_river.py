"""deep-river's classifier over a pipe, from an environment of its own.

The far side is this module run as a program there: a line of JSON in, a line of JSON out.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.environment import python
from benchmarks.streams.data import Stream

STEP = 0.05
"""Chosen like the settings of all other methods, on the streams of seeds 100 to 102; see
docs/learning.md."""


class Far:
    """A classifier over there, behind River's scaler; one step a row, or a step of many rows.

    Parameters
    ----------
    hidden, activation
        Of its network.
    step, optimiser
        As torch calls them.
    """

    def __init__(
        self,
        sensors: int,
        classes: int,
        seed: int,
        *,
        hidden: Sequence[int] = (64,),
        activation: str = "ReLU",
        step: float = STEP,
        optimiser: str = "sgd",
    ) -> None:
        root = Path(__file__).parents[2]
        self._far = subprocess.Popen(
            [str(python("deep-river")), "-W", "ignore", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        self._tell(
            {
                "sensors": sensors,
                "classes": classes,
                "seed": seed,
                "hidden": list(hidden),
                "activation": activation,
                "step": step,
                "optimiser": optimiser,
            }
        )

    def seconds(self, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        """What one step of these rows takes it, measured over there."""
        told = self._tell({"time": rows.tolist(), "labels": labels.tolist()})
        return float(told)

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


class DeepRiver(Far):
    """A network of 64 ReLU units, SGD, one step a row: a method."""

    def __init__(self, stream: Stream, seed: int) -> None:
        super().__init__(stream.x.shape[1], stream.classes, seed)


def _serve() -> None:
    import time

    import pandas as pd
    import torch
    from deep_river.classification import Classifier
    from river import compose, preprocessing

    from benchmarks.streams.peers import River

    torch.set_num_threads(1)
    given = json.loads(sys.stdin.readline())
    torch.manual_seed(given["seed"])
    widths = [given["sensors"], *given["hidden"]]
    layers: list[torch.nn.Module] = []
    for below, width in itertools.pairwise(widths):
        layers += [torch.nn.Linear(below, width), getattr(torch.nn, given["activation"])()]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], given["classes"]))
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
        if "time" in asked:
            names = [str(k) for k in range(given["sensors"])]
            dicts = [dict(zip(names, row, strict=True)) for row in asked["time"]]
            frame, labels = pd.DataFrame(dicts), pd.Series(asked["labels"])
            began = time.perf_counter()
            if len(dicts) == 1:
                classifier.learn_one(dicts[0], asked["labels"][0])
            else:
                classifier.learn_many(frame, labels)
            print(time.perf_counter() - began, flush=True)
            continue
        rows = np.array(asked["rows"], np.float32)
        labels = asked.get("labels")
        said = method.predict(rows) if labels is None else method.learn(rows, np.array(labels))
        print(json.dumps(said.tolist()), flush=True)


if __name__ == "__main__":
    _serve()
