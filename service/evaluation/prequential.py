"""Prequential scores: each prediction is scored with its label before the network learns from it.

Gama, Sebastião & Rodrigues 2013, *On evaluating stream learning algorithms*.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.evaluation.baselines import Baselines
from service.rows import Labels, Probabilities

LEAST_PROBABILITY = 1e-15
"""Keeps the log-loss of a confident mistake finite; the same bound as River's."""


BINS = 15
"""Of the calibration error, equally wide."""


class Prequential:
    """Accuracy, macro-F1, log-loss and calibration error, overall and over the last ``window``
    labelled rows, and what `Baselines` scored.

    Not learner state: a rollback does not undo what was predicted. Saved with each snapshot, so
    that a restart goes on counting.
    """

    def __init__(self, classes: int, window: int) -> None:
        self.classes = classes
        self.window = window
        self.rows = 0
        self._confusion = np.zeros((classes, classes), np.int64)
        self._loss = 0.0
        self._labels = np.zeros(window, np.int64)
        self._predicted = np.zeros(window, np.int64)
        self._losses = np.zeros(window, np.float64)
        self._bins = np.zeros((BINS, 3))
        """Per bin of confidence: rows, rows predicted right, their confidence in all."""
        self._confidence = np.full(window, np.nan)
        self._baselines = Baselines(classes, window)

    def observe(self, labels: Labels, probabilities: Probabilities, line: str = "") -> None:
        """Score labelled rows of a line: ``labels`` (b,) all known, ``probabilities`` (b, K)."""
        predicted = probabilities.argmax(1)
        self._baselines.observe(labels, predicted, line)
        if len(labels) == 1:
            self._one(int(labels[0]), int(predicted[0]), probabilities[0])
        else:
            self._several(labels, predicted, probabilities)

    def _one(self, label: int, predicted: int, said: NDArray[Any]) -> None:
        """The commonest case, in a tenth of the time; the same to the bit."""
        chance, confidence = float(said[label]), float(said.max())
        chance = 0.0 if math.isnan(chance) else chance
        confidence = 0.0 if math.isnan(confidence) else confidence
        loss = -np.log(min(max(chance, LEAST_PROBABILITY), 1.0))
        self._confusion[label, predicted] += 1
        self._loss += float(loss)
        at = self.rows % self.window
        self._labels[at], self._predicted[at], self._losses[at] = label, predicted, loss
        self._confidence[at] = confidence
        if math.isfinite(confidence):
            counted = self._bins[min(int(confidence * BINS), BINS - 1)]
            counted += (1.0, float(predicted == label), confidence)
        self.rows += 1

    def _several(self, labels: Labels, predicted: Labels, probabilities: Probabilities) -> None:
        chance = probabilities[np.arange(len(labels)), labels].astype(np.float64)
        # What is no number was no answer: the worst of scores, but a score.
        chance = np.where(np.isnan(chance), 0.0, chance)
        losses = -np.log(np.clip(chance, LEAST_PROBABILITY, 1.0))
        np.add.at(self._confusion, (labels, predicted), 1)
        self._loss += float(losses.sum())
        at = (self.rows + np.arange(len(labels))) % self.window
        self._labels[at], self._predicted[at], self._losses[at] = labels, predicted, losses
        confidence = probabilities.max(1).astype(np.float64)
        confidence = np.where(np.isnan(confidence), 0.0, confidence)
        self._confidence[at] = confidence
        self._bins += _binned(confidence, predicted == labels)
        self.rows += len(labels)

    def summary(self) -> dict[str, Any]:
        """``{"overall": figures, "window": figures}``; figures are None before the first label."""
        seen = min(self.rows, self.window)
        recent = np.zeros_like(self._confusion)
        np.add.at(recent, (self._labels[:seen], self._predicted[:seen]), 1)
        right = self._labels[:seen] == self._predicted[:seen]
        bins = _binned(self._confidence[:seen], right)
        found = {
            "overall": _figures(self._confusion, self._loss, self._bins),
            "window": _figures(recent, float(self._losses[:seen].sum()), bins),
        }
        return {span: found[span] | beside for span, beside in self._baselines.summary().items()}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """A copy of everything, to be saved."""
        return {
            "confusion": self._confusion.copy(),
            "loss": np.array([self._loss]),
            "rows": np.array([self.rows], np.int64),
            "window.labels": self._labels.copy(),
            "window.predicted": self._predicted.copy(),
            "window.losses": self._losses.copy(),
            "bins": self._bins.copy(),
            "window.confidence": self._confidence.copy(),
            **self._baselines.arrays(),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from what `arrays` gave. Another window length starts the window anew."""
        self._confusion = arrays["confusion"].copy()
        self._loss = float(arrays["loss"][0])
        rows = int(arrays["rows"][0])
        saved = len(arrays["window.labels"])
        recent = min(rows, saved, self.window)
        # Oldest first, then laid where the running index expects them.
        order = (rows - recent + np.arange(recent)) % saved
        at = (rows - recent + np.arange(recent)) % self.window
        self._labels[at] = arrays["window.labels"][order]
        self._predicted[at] = arrays["window.predicted"][order]
        self._losses[at] = arrays["window.losses"][order]
        # Versions before this one kept no confidence: those rows have none.
        if "bins" in arrays:
            self._bins = arrays["bins"].copy()
            self._confidence[at] = arrays["window.confidence"][order]
        self.rows = rows
        self._baselines.restore(arrays)
        # A version before this one may have saved what a network that blew up was scored with.
        worst = -math.log(LEAST_PROBABILITY)
        self._losses = np.nan_to_num(self._losses, nan=worst, posinf=worst)
        if not math.isfinite(self._loss):
            self._loss = rows * float(self._losses[at].mean()) if recent else 0.0


def _binned(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(BINS, 3): rows, rows predicted right and summed confidence; rows without one left out."""
    kept = np.isfinite(confidence)
    confidence, right = confidence[kept], right[kept]
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    weights = (None, right.astype(np.float64), confidence)
    return np.stack([np.bincount(bins, w, BINS) for w in weights], 1)


def _calibration_error(bins: NDArray[np.float64]) -> float | None:
    """How far confidence and accuracy are apart, in the mean over rows (Guo et al. 2017)."""
    rows = bins[:, 0].sum()
    return float(np.abs(bins[:, 1] - bins[:, 2]).sum() / rows) if rows else None


def _figures(
    confusion: NDArray[np.int64], loss: float, bins: NDArray[np.float64]
) -> dict[str, Any]:
    rows = int(confusion.sum())
    if rows == 0:
        return {"rows": 0, "f1": None} | dict.fromkeys(
            ("accuracy", "macro_f1", "log_loss", "calibration_error")
        )
    hits = np.diag(confusion).astype(np.float64)
    both = confusion.sum(0) + confusion.sum(1)
    f1 = np.where(both > 0, 2 * hits / np.maximum(both, 1), np.nan)
    return {
        "rows": rows,
        "accuracy": float(hits.sum() / rows),
        # Classes that were neither seen nor predicted have no F1 and do not count.
        "macro_f1": float(np.nanmean(f1)),
        "log_loss": loss / rows,
        "calibration_error": _calibration_error(bins),
        "f1": [None if np.isnan(v) else float(v) for v in f1],
    }
