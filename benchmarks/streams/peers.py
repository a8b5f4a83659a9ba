"""River's learners, and the two that know nothing: each as a prequential method."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import compose, forest, linear_model, optim, preprocessing, stats, tree

from benchmarks.streams.data import Stream


class River:
    """A classifier of River at its defaults; missing readings are the running mean."""

    def __init__(self, model: Any, sensors: int, classes: int) -> None:
        self._model = model
        self._classes = classes
        self._names = [str(k) for k in range(sensors)]
        self._means = [stats.Mean() for _ in self._names]

    def _row(self, row: NDArray[np.float32]) -> dict[str, float]:
        return {
            name: mean.get() if np.isnan(value) else float(value)
            for name, mean, value in zip(self._names, self._means, row, strict=True)
        }

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.full((len(rows), self._classes), 0.0, np.float32)
        for index, row in enumerate(rows):
            said = self._model.predict_proba_one(self._row(row))
            for label, probability in said.items():
                found[index, int(label)] = probability
            total = found[index].sum()
            found[index] = found[index] / total if total > 0 else 1 / self._classes
        return found

    def learn(self, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
        said = self.predict(rows)
        for row, label in zip(rows, labels, strict=True):
            for mean, value in zip(self._means, row, strict=True):
                if not np.isnan(value):
                    mean.update(float(value))
            self._model.learn_one(self._row(row), int(label))
        return said


def _of(model: Any, stream: Stream) -> River:
    return River(model, stream.x.shape[1], stream.classes)


def forest_of(stream: Stream, seed: int) -> River:
    """Adaptive random forest of ten trees (Gomes et al. 2017)."""
    return _of(forest.ARFClassifier(seed=seed), stream)


def hoeffding(stream: Stream, seed: int) -> River:
    """Hoeffding adaptive tree (Bifet & Gavaldà 2009)."""
    return _of(tree.HoeffdingAdaptiveTreeClassifier(seed=seed), stream)


def softmax(stream: Stream, seed: int) -> River:
    """Softmax regression on standardised sensors, SGD .05."""
    regression = linear_model.SoftmaxRegression(optimizer=optim.SGD(0.05))
    return _of(compose.Pipeline(preprocessing.StandardScaler(), regression), stream)


class LastLabel:
    """Repeats the last label that it was told."""

    def __init__(self, stream: Stream, seed: int) -> None:
        self._classes, self._last = stream.classes, 0

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.tile(np.eye(self._classes, dtype=np.float32)[self._last], (len(rows), 1))

    def learn(self, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
        said = self.predict(rows)
        self._last = int(labels[-1])
        return said


class Majority:
    """Says how often each class was seen."""

    def __init__(self, stream: Stream, seed: int) -> None:
        self._counts = np.ones(stream.classes, np.float32)

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.tile(self._counts / self._counts.sum(), (len(rows), 1))

    def learn(self, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
        said = self.predict(rows)
        np.add.at(self._counts, labels, 1)
        return said
