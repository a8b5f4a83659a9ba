"""What a score is worth: beside it, what repeating the last label would have scored.

Labels of a line come in blocks, so a classifier that looks at no sensor and repeats the label
before may be right in 99 of 100 rows (Žliobaitė, Bifet, Read, Pfahringer & Holmes 2015, *Evaluation
methods and decision theory for classification of streaming data with temporal dependence*: kappa
temporal). It repeats what came before from the same line, in the order in which labels arrive. The
other baseline says what was commonest so far.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.rows import UNKNOWN, Labels

LEAST_ROWS = 100
"""Fewer are not worth a sentence."""

MOST_LINES = 256
"""Lines whose last label is remembered, the first that came; the others are one line."""

FIGURES = ("last_label_accuracy", "majority_accuracy", "kappa_temporal")


class Baselines:
    """Last label and majority on the same rows as the network, overall and over a window."""

    def __init__(self, classes: int, window: int) -> None:
        self.window = window
        self.rows = 0
        self._seen = np.zeros(classes, np.int64)
        self._hits = np.zeros(3, np.int64)
        """Rows that the network, the last label and the majority got right."""
        self._recent = np.zeros((window, 3), bool)
        self._last: dict[str, int] = {}

    def observe(self, labels: Labels, predicted: Labels, line: str) -> None:
        """Take labelled rows of one line, in their order: ``labels`` and ``predicted`` (b,)."""
        key = line if line in self._last or len(self._last) < MOST_LINES else ""
        if len(labels) == 1:
            self._one(int(labels[0]), int(predicted[0]), key)
        elif len(labels):
            self._several(labels, predicted, key)

    def _one(self, label: int, said: int, key: str) -> None:
        """The commonest case, in half the time."""
        common = int(self._seen.argmax()) if self.rows else UNKNOWN
        hits = said == label, self._last.get(key, UNKNOWN) == label, common == label
        self._hits += hits
        self._recent[self.rows % self.window] = hits
        self._seen[label] += 1
        self._last[key] = label
        self.rows += 1

    def _several(self, labels: Labels, predicted: Labels, key: str) -> None:
        # Before the first label there is none to repeat, and no class is commonest.
        last = np.concatenate([[self._last.get(key, UNKNOWN)], labels[:-1]])
        counts = np.zeros((len(labels) + 1, len(self._seen)), np.int64)
        counts[0] = self._seen
        counts[np.arange(1, len(counts)), labels] = 1
        counts = counts.cumsum(0)
        common = counts[:-1].argmax(1)
        if not self.rows:
            common[0] = UNKNOWN
        hits = np.stack([predicted == labels, last == labels, common == labels], 1)
        self._hits += hits.sum(0)
        self._recent[(self.rows + np.arange(len(labels))) % self.window] = hits
        self._seen = counts[-1]
        self._last[key] = int(labels[-1])
        self.rows += len(labels)

    def summary(self) -> dict[str, dict[str, float | None]]:
        """``{"overall": figures, "window": figures}``, None before the first label."""
        seen = min(self.rows, self.window)
        recent = self._recent[:seen].sum(0)
        return {
            "overall": _figures(self._hits, self.rows),
            "window": _figures(recent, seen),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """A copy of everything, to be saved."""
        last = json.dumps(self._last).encode()
        return {
            "baseline.rows": np.array([self.rows], np.int64),
            "baseline.seen": self._seen.copy(),
            "baseline.hits": self._hits.copy(),
            "baseline.recent": self._recent.astype(np.uint8),
            "baseline.last": np.frombuffer(last, np.uint8).copy(),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from what `arrays` gave; versions before this one saved nothing."""
        if "baseline.rows" not in arrays:
            return
        self.rows = int(arrays["baseline.rows"][0])
        self._seen = arrays["baseline.seen"].copy()
        self._hits = arrays["baseline.hits"].copy()
        self._last = json.loads(arrays["baseline.last"].tobytes())
        saved = len(arrays["baseline.recent"])
        recent = min(self.rows, saved, self.window)
        when = self.rows - recent + np.arange(recent)
        self._recent[when % self.window] = arrays["baseline.recent"][when % saved].astype(bool)


def sentence(figures: dict[str, Any]) -> str | None:
    """What people should know of a window's figures; None where there is nothing to be said."""
    accuracy, last, rows = (figures[k] for k in ("accuracy", "last_label_accuracy", "rows"))
    if last is None or rows < LEAST_ROWS or accuracy >= last:
        return None
    return (
        f"worse than repeating the last label: {accuracy:.1%} of the last {rows} labelled rows "
        f"are right, {last:.1%} would be"
    )


def _figures(hits: NDArray[np.int64], rows: int) -> dict[str, float | None]:
    if rows == 0:
        return dict.fromkeys(FIGURES)
    network, last, majority = (hits / rows).tolist()
    # Where the last label is always right, nothing can be better.
    kappa = (network - last) / (1 - last) if last < 1 else None
    return dict(zip(FIGURES, (last, majority, kappa), strict=True))
