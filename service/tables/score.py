"""How well a file was predicted before it taught, beside what needs no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


class Score:
    """Prequential: each row is scored by the prediction that was made before its label taught.

    Beside it the last label said again, and the most frequent one so far.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.rows = 0
        self._right = Counter[str]()
        self._pairs = Counter[tuple[str, str]]()
        self._seen = Counter[str]()
        self._last: str | None = None
        self._classes = tuple(classes)

    def saw(self, labels: Sequence[str | None], predictions: Sequence[str]) -> None:
        """Rows in their order."""
        for label, said in zip(labels, predictions, strict=True):
            if label is None:
                continue
            self.rows += 1
            self._pairs[label, said] += 1
            self._right["model"] += label == said
            self._right["last"] += label == self._last
            if self._seen:
                self._right["majority"] += label == self._seen.most_common(1)[0][0]
            self._seen[label] += 1
            self._last = label

    def accuracy(self, of: str = "model") -> float:
        """Of ``model``, ``last`` or ``majority``."""
        return self._right[of] / max(1, self.rows)

    def f1(self, label: str) -> float:
        """Of one class."""
        hits = self._pairs[label, label]
        said = sum(n for (_, s), n in self._pairs.items() if s == label)
        return 2 * hits / max(1, said + self._seen[label])

    @property
    def macro_f1(self) -> float:
        """Mean over the classes that were seen."""
        seen = [label for label in self._classes if self._seen[label]]
        return sum(self.f1(label) for label in seen) / max(1, len(seen))

    @property
    def classes(self) -> list[str]:
        """That were seen, the most frequent first."""
        return [label for label, _ in self._seen.most_common()]
