"""Which classes a guard has seen often enough to know them.

Poison says falsely what is known; a class that nobody has seen before is news. Both networks err in
all of its rows at first, and the first of them look like labels that stopped teaching.
"""

from __future__ import annotations

from collections.abc import Iterable

from service.evaluation.suspicion import LEAST_PAST_ROWS


class Seen:
    """Labelled rows of each class, up to `LEAST_PAST_ROWS`; ``kept`` None knows all classes, since
    versions before this one did not count."""

    def __init__(self, kept: Iterable[tuple[int, int]] | None = ()) -> None:
        self._rows = None if kept is None else dict(kept)

    def first(self, label: int, *, suspected: bool) -> int:
        """Take a row's label: 1 where its class is hardly known, else 0. Rows that are
        ``suspected`` make nothing known."""
        kept = self._rows
        if kept is None or (rows := kept.get(label, 0)) >= LEAST_PAST_ROWS:
            return 0
        if not suspected:
            kept[label] = rows + 1
        return 1

    def to_list(self) -> list[tuple[int, int]] | None:
        """``Seen`` of it is this one again."""
        return None if self._rows is None else list(self._rows.items())
