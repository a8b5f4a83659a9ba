"""One guard for each line beside that of the whole model: a bad gateway out of five is named.

A line's guard is the same test on that line's labels alone. What it can say more is who: poison of
one line raises its own losses and leaves those of the others where they were, while a concept that
changes, or labels that go bad at their source, are everybody's.

Pure: no I/O, no clock. Names of lines are trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.evaluation.guard import Guard
from service.evaluation.packed import packed, unpacked
from service.evaluation.signal import Signal
from service.rows import UNKNOWN, Labels, Probabilities

MOST_LINES = 256
"""So many are watched, the first that came."""

SILENT_ROWS = 2_000
"""Labelled rows of other lines after which a line that says nothing is not waited for."""


class Lines:
    """Watches each line by itself, from the first row of a second one on.

    Parameters
    ----------
    guard_rows
        Of each line's `Guard`: its own labelled rows.
    """

    def __init__(self, guard_rows: int = 300) -> None:
        self._guard_rows = guard_rows
        self._first: str | None = None
        self._guards: dict[str, Guard] = {}
        self._last: dict[str, int] = {}
        self._rows = 0

    def reset(self) -> None:
        """Start over, nothing known: after a rollback, a rebase, a thaw."""
        self._first = None
        self._guards.clear()
        self._last.clear()

    def promoted(self, errors: Mapping[str, list[int]]) -> None:
        """Another champion, and its 0 or 1 ``errors`` on each line's latest labelled rows.

        Some of these may be poisoned already. A champion is not much worse than the one before, so
        whichever past is the better one is what it is held to.
        """
        for line, guard in self._guards.items():
            guard.succeeded(errors.get(line, ()))

    def forget(self, line: str) -> None:
        """It is in quarantine: what is known of it lies before a break."""
        self._guards.pop(line, None)
        self._last.pop(line, None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable, so that a restart goes on with what is known of each line."""
        return {
            "first": self._first,
            "rows": self._rows,
            "last": dict(self._last),
            "guards": {line: packed(guard.to_dict()) for line, guard in self._guards.items()},
        }

    def restore(self, plain: dict[str, Any] | None) -> None:
        """The inverse of `to_dict`; versions before this one saved nothing."""
        if plain is None:
            return
        self._first, self._rows, self._last = plain["first"], plain["rows"], dict(plain["last"])
        for line, kept in plain["guards"].items():
            guard = self._guards[line] = Guard(self._guard_rows)
            guard.restore(unpacked(kept))

    @property
    def several(self) -> bool:
        """Whether there is more than one line, so that any is watched."""
        return bool(self._guards)

    @property
    def suspects(self) -> list[str]:
        """Lines whose labels are suspected now, but for those that fell silent."""
        return [
            line
            for line, guard in self._guards.items()
            if guard.accuses and self._rows - self._last[line] <= SILENT_ROWS
        ]

    @property
    def culprit(self) -> str | None:
        """The one line that is suspected while the others, more than there are, are not."""
        suspects = self.suspects
        return suspects[0] if len(suspects) == 1 < len(self._guards) else None

    def observe(
        self,
        seq: int,
        line: str,
        labels: Labels,
        learner: Probabilities,
        champion: Probabilities,
    ) -> Signal | None:
        """Take a labelled batch of a line, as `Guard.observe` does; a signal where that line's
        labels, and no other's, stopped teaching."""
        self._rows += int((labels != UNKNOWN).sum())
        if self._first is None:
            self._first = line
        if line == self._first and not self._guards:
            # Nobody to compare with, and the whole model's guard sees these rows.
            return None
        guard = self._guards.get(line)
        if guard is None:
            if len(self._guards) >= MOST_LINES:
                return None
            guard = self._guards[line] = Guard(self._guard_rows)
        self._last[line] = self._rows
        signal = guard.observe(seq, labels, learner, champion) or guard.verdict(seq)
        if signal is None or signal.kind != "guard":
            # What a line's concept does shows in the whole model's.
            return None
        accused = guard.accuses
        guard.reset()
        others = len(self._guards) - 1
        return signal if accused and others and 2 * len(self.suspects) < others else None
