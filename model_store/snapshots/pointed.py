"""Which versions aliases point at, or pointed at lately."""

from __future__ import annotations

from model_store.snapshots.store import SnapshotStore

LONGEST_STEP_S = 86400.0
"""Between two entries of a trail no more time than this is taken to have passed: a clock that
jumps must not make champions of yesterday old."""


def aliased(store: SnapshotStore, model: str, lately_s: float, now: float) -> set[int]:
    """Versions that an alias points at, or that were champion in the last ``lately_s`` seconds.

    Time goes by the trail's own order: entry by entry, a day at most for each step, never back.
    """
    found = {alias.version for alias in store.aliases(model)}
    ago, then = 0.0, now
    for move in store.audit(model).moves():
        ago += min(max(then - move.at, 0.0), LONGEST_STEP_S)
        then = move.at
        if move.after is not None:
            found.add(move.after)
            if ago > lately_s:
                # Champion until the entry after it, and with that it is the last one.
                break
        if move.before is not None and ago <= lately_s:
            found.add(move.before)
    return found
