"""Figures of one prequential pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 15
LEAST = 1e-4
"""A probability below this counts as this in the log-loss: a certain mistake is not infinite."""


def figures(said: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, macro F1, log-loss, expected calibration error (Guo et al. 2017, 15 bins) and
    kappa-temporal (Žliobaitė et al. 2015) of probabilities (N, K) and labels (N,)."""
    right = said.argmax(1) == labels
    accuracy = float(right.mean())
    repeated = float((labels[1:] == labels[:-1]).mean())
    told = np.clip(said[np.arange(len(labels)), labels], LEAST, 1.0)
    return {
        "accuracy": accuracy,
        "macro_f1": _macro_f1(said.argmax(1), labels),
        "log_loss": float(-np.log(told).mean()),
        "calibration_error": _calibration_error(said.max(1), right),
        "kappa_temporal": (accuracy - repeated) / max(1 - repeated, 1e-9),
    }


def _macro_f1(found: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    each = []
    for k in np.unique(labels):
        hits = float(((found == k) & (labels == k)).sum())
        each.append(2 * hits / max(float((found == k).sum() + (labels == k).sum()), 1))
    return float(np.mean(each))


def _calibration_error(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    error = 0.0
    for k in range(BINS):
        inside = bins == k
        if inside.any():
            error += float(inside.mean()) * abs(
                float(right[inside].mean()) - float(confidence[inside].mean())
            )
    return error
