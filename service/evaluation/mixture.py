"""Lines differ, and so may the mixture in which they are heard: during a suspicion another one than
before explains errors that are no poison.

What a line's own past says is taken when the suspicion begins, and not again: whoever sends bad
labels under a name of his own must not come to be what is expected of it.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

LEAST = 0.06
"""Lines differ by chance, too: by less than this another mixture of them explains nothing."""


class Rates(NamedTuple):
    """How often champion and learner erred before, and labels changed."""

    champion: float
    learner: float
    switches: float


class Mixture:
    """Which lines are heard since a suspicion began.

    Parameters
    ----------
    usual
        Of all lines together.
    lines
        Of each that was known then; of others the usual is expected.
    """

    def __init__(self, usual: Rates, lines: Mapping[str, Rates]) -> None:
        self._usual = usual
        self._lines = dict(lines)
        self._rows: dict[str, int] = {}
        self._labels: dict[str, int] = {}
        self._sums = [0.0, 0.0, 0.0]

    def hear(self, line: str) -> None:
        """Take a row that is evidence."""
        self._rows[line] = self._rows.get(line, 0) + 1
        rates = self._lines.get(line, self._usual)
        self._sums[0] += rates.champion - self._usual.champion
        self._sums[1] += rates.learner - self._usual.learner

    def hear_label(self, line: str) -> None:
        """Take a labelled row, evidence or not."""
        self._labels[line] = self._labels.get(line, 0) + 1
        self._sums[2] += self._lines.get(line, self._usual).switches - self._usual.switches

    @property
    def errors(self) -> float:
        """By how much more often both networks are to err than all lines' past says."""
        if not self._rows:
            return 0.0
        found = min(self._sums[:2]) / sum(self._rows.values())
        return found if found >= LEAST else 0.0

    @property
    def switches(self) -> float:
        """By how much more often labels are to change."""
        return max(0.0, self._sums[2] / sum(self._labels.values())) if self._labels else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable copy."""
        return {
            "usual": list(self._usual),
            "lines": {line: list(rates) for line, rates in self._lines.items()},
            "rows": dict(self._rows),
            "labels": dict(self._labels),
        }

    @classmethod
    def restored(cls, kept: Mapping[str, Any] | None) -> Mixture:
        """The inverse of `to_dict`; versions before this one knew no mixture."""
        if kept is None:
            return cls(Rates(0.0, 0.0, 0.0), {})
        lines = {line: Rates(*rates) for line, rates in kept["lines"].items()}
        found = cls(Rates(*kept["usual"]), lines)
        for heard, hear in (("rows", found.hear), ("labels", found.hear_label)):
            for line, count in kept[heard].items():
                for _ in range(count):
                    hear(line)
        return found
