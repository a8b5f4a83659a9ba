"""Prequential scores: each prediction is scored with its label before the network learns from it.

Gama, Sebastião & Rodrigues 2013, *On evaluating stream learning algorithms*.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.rows import Labels, Probabilities

LEAST_PROBABILITY = 1e-15
"""Keeps the log-loss of a confident mistake finite; the same bound as River's."""


class Prequential:
    """Accuracy, macro-F1 and log-loss, overall and over the last ``window`` labelled rows.

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

    def observe(self, labels: Labels, probabilities: Probabilities) -> None:
        """Score labelled rows: ``labels`` (b,) all known, ``probabilities`` (b, K)."""
        predicted = probabilities.argmax(1)
        chance = probabilities[np.arange(len(labels)), labels].astype(np.float64)
        # What is no number was no answer: the worst of scores, but a score.
        chance = np.nan_to_num(chance, nan=0.0)
        losses = -np.log(np.clip(chance, LEAST_PROBABILITY, 1.0))
        np.add.at(self._confusion, (labels, predicted), 1)
        self._loss += float(losses.sum())
        at = (self.rows + np.arange(len(labels))) % self.window
        self._labels[at], self._predicted[at], self._losses[at] = labels, predicted, losses
        self.rows += len(labels)

    def summary(self) -> dict[str, Any]:
        """``{"overall": figures, "window": figures}``; figures are None before the first label."""
        seen = min(self.rows, self.window)
        recent = np.zeros_like(self._confusion)
        np.add.at(recent, (self._labels[:seen], self._predicted[:seen]), 1)
        return {
            "overall": _figures(self._confusion, self._loss),
            "window": _figures(recent, float(self._losses[:seen].sum())),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """A copy of everything, to be saved."""
        return {
            "confusion": self._confusion.copy(),
            "loss": np.array([self._loss]),
            "rows": np.array([self.rows], np.int64),
            "window.labels": self._labels.copy(),
            "window.predicted": self._predicted.copy(),
            "window.losses": self._losses.copy(),
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
        self.rows = rows
        # A version before this one may have saved what a network that blew up was scored with.
        worst = -math.log(LEAST_PROBABILITY)
        self._losses = np.nan_to_num(self._losses, nan=worst, posinf=worst)
        if not math.isfinite(self._loss):
            self._loss = rows * float(self._losses[at].mean()) if recent else 0.0


def _figures(confusion: NDArray[np.int64], loss: float) -> dict[str, Any]:
    rows = int(confusion.sum())
    if rows == 0:
        return {"rows": 0, "accuracy": None, "macro_f1": None, "log_loss": None, "f1": None}
    hits = np.diag(confusion).astype(np.float64)
    both = confusion.sum(0) + confusion.sum(1)
    f1 = np.where(both > 0, 2 * hits / np.maximum(both, 1), np.nan)
    return {
        "rows": rows,
        "accuracy": float(hits.sum() / rows),
        # Classes that were neither seen nor predicted have no F1 and do not count.
        "macro_f1": float(np.nanmean(f1)),
        "log_loss": loss / rows,
        "f1": [None if np.isnan(v) else float(v) for v in f1],
    }
