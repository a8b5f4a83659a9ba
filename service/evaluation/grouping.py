"""One alarm for one change: what is heard again soon, of the same champion, is the same news.

Pure: no I/O, no clock; time is labelled rows.
"""

from __future__ import annotations

GROUPED_ROWS = 2_000
"""Labelled rows within which a concept that changes is one change, whoever is champion by then."""

REMINDED_ROWS = 20_000
"""After so many people are told again of a champion that nobody replaced."""


class Grouping:
    """Whether people were told already that a concept left a champion behind."""

    def __init__(self) -> None:
        self._told: tuple[int, int] | None = None

    def is_news(self, champion: int, rows: int) -> bool:
        """Of version ``champion``, after ``rows`` labelled rows in all; then it is told."""
        if self._told is not None:
            version, since = self._told[0], rows - self._told[1]
            wait = REMINDED_ROWS if version == champion else GROUPED_ROWS
            if since < wait:
                return False
        self._told = champion, rows
        return True
