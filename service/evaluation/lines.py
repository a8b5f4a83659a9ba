"""One guard for each line beside that of the whole model: a bad gateway out of five is named.

A line's guard is the same test on that line's labels alone. What it can say more is who: poison of
one line raises its own losses and leaves those of the others where they were, while a concept that
changes, or labels that go bad at their source, are everybody's.

Pure: no I/O, no clock. Names of lines are trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from service.evaluation.guard import Guard
from service.evaluation.limits import CLEAR_RISE, TELLING_ROWS
from service.evaluation.mixture import Rates
from service.evaluation.packed import packed, unpacked
from service.evaluation.signal import Signal
from service.rows import UNKNOWN, Labels, Probabilities

MOST_LINES = 256
"""So many are watched, the first that came."""

SILENT_ROWS = 2_000
"""Labelled rows of other lines after which a line that says nothing is not waited for."""

SHARED_ROWS = 1_000
"""Labelled rows of all lines for which labels that were found bad, and are no longer doubted, speak
for a change that lines share."""


@dataclass(slots=True)
class Heard:
    """When a line was heard; all in labelled rows of all lines.

    Parameters
    ----------
    last
        The latest time.
    begun, rows
        Its latest rows, fewer than `TELLING_ROWS`: since when, and how many.
    whole
        When the latest so many rows of it began.
    bad
        When its labels were found bad last, be it by chance.
    suspected
        Since when they are; None while they are not.
    """

    last: int = 0
    begun: int = 0
    rows: int = 0
    whole: int = -1
    bad: int = -1
    suspected: int | None = None

    def hear(self, before: int, rows: int) -> None:
        """Take so many labelled rows, ``before`` which there were others."""
        self.last = before + rows
        if not self.rows:
            self.begun = before
        self.rows += rows
        if self.rows >= TELLING_ROWS:
            self.whole, self.rows = self.begun, 0


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
        self._heard: dict[str, Heard] = {}
        self._rows = 0

    def reset(self) -> None:
        """Start over, nothing known: after a rollback, a rebase, a thaw."""
        self._first = None
        self._guards.clear()
        self._heard.clear()

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
        self._heard.pop(line, None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable, so that a restart goes on with what is known of each line."""
        return {
            "first": self._first,
            "rows": self._rows,
            "heard": {line: asdict(heard) for line, heard in self._heard.items()},
            "guards": {line: packed(guard.to_dict()) for line, guard in self._guards.items()},
        }

    def restore(self, plain: dict[str, Any] | None) -> None:
        """The inverse of `to_dict`; versions before this one saved nothing."""
        if plain is None:
            return
        self._first, self._rows = plain["first"], plain["rows"]
        self._heard = {line: Heard(**heard) for line, heard in plain["heard"].items()}
        for line, kept in plain["guards"].items():
            guard = self._guards[line] = Guard(self._guard_rows)
            guard.restore(unpacked(kept))

    @property
    def several(self) -> bool:
        """Whether there is more than one line, so that any is watched."""
        return bool(self._guards)

    def suspicious(self, line: str) -> bool:
        """Whether its own guard is."""
        return line in self._guards and self._guards[line].suspicious

    @property
    def suspects(self) -> list[str]:
        """Lines whose labels are suspected now, but for those that fell silent."""
        return [
            line
            for line, guard in self._guards.items()
            if guard.accuses and self._rows - self._heard[line].last <= SILENT_ROWS
        ]

    @property
    def doubted(self) -> bool:
        """Whether a suspicion of any line's labels is open, be it chance."""
        return any(
            guard.doubts and self._rows - self._heard[line].last <= SILENT_ROWS
            for line, guard in self._guards.items()
        )

    @property
    def culprit(self) -> str | None:
        """The one line that is suspected while others, which were heard meanwhile, are not, or
        clearly less: a suspicion may be chance."""
        rises = sorted(((self._guards[line].rise, line) for line in self.suspects), reverse=True)
        if not rises or not self._compared(rises[0][1]):
            return None
        stands_out = len(rises) == 1 or rises[0][0] - rises[1][0] >= CLEAR_RISE
        return rises[0][1] if stands_out else None

    def observe(
        self,
        seq: int,
        line: str,
        labels: Labels,
        learner: Probabilities,
        champion: Probabilities,
        handicap: float | None = None,
    ) -> Signal | None:
        """Take a labelled batch of a line, as `Guard.observe` does; a signal where that line's
        labels, and no other's, stopped teaching. ``handicap`` is of this line."""
        before, rows = self._rows, int((labels != UNKNOWN).sum())
        self._rows += rows
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
            self._heard[line] = Heard()
        heard = self._heard[line]
        heard.hear(before, rows)
        signal = guard.observe(seq, labels, learner, champion, silence=handicap)
        signal = signal or guard.verdict(seq)
        if not guard.suspicious:
            heard.suspected = None
        elif heard.suspected is None:
            heard.suspected = self._rows
        if guard.accuses and guard.told:
            heard.bad = self._rows
        if signal is None or signal.kind != "guard":
            # What a line's concept does shows in the whole model's.
            return None
        if not guard.accuses:
            guard.dismiss()
        elif 2 * self._too(line) < self._compared(line):
            guard.reset()
            return signal
        else:
            # Others changed too, or were not heard yet.
            guard.wait()
        return None

    def rates_of(self, line: str) -> Rates | None:
        """What is known of a line before its present."""
        return self._guards[line].rates if line in self._guards else None

    def rates(self, but: str, then: Rates | None) -> dict[str, Rates]:
        """Of each that is known; of one ``but`` what was known ``then``."""
        found = {line: self.rates_of(line) for line in self._guards} | {but: then}
        return {line: rates for line, rates in found.items() if rates is not None}

    def _compared(self, line: str) -> int:
        """Other lines of which enough was heard since ``line`` is suspected: if there were a drift,
        it would show."""
        since = self._heard[line].suspected
        return sum(
            since is not None and heard.whole >= since
            for other, heard in self._heard.items()
            if other != line
        )

    def _too(self, line: str) -> int:
        """Others whose labels were found bad too since ``line`` is suspected, and are still doubted
        or were not long ago: the longer one looks, the more of them were so by chance."""
        since = self._heard[line].suspected
        if since is None:
            return 0
        return sum(
            heard.bad >= since
            and (self._guards[other].doubts or self._rows - heard.bad <= SHARED_ROWS)
            for other, heard in self._heard.items()
            if other != line
        )
