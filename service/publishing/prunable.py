"""Which snapshots may go."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def prunable(
    versions: Collection[int],
    manifests: Mapping[int, Mapping[str, Any]],
    *,
    keep_last: int,
    marked: Collection[int] = (),
    aliased: Collection[int] = (),
    named: Collection[int] = (),
) -> list[int]:
    """Versions that nothing holds, ascending.

    Parameters
    ----------
    versions
        All finished ones.
    manifests
        Of those that could be read. One that could not is never prunable, nor does it count among
        the last: a damaged snapshot is quarantined, not deleted.
    keep_last
        How many of the newest stay, at least 1: recovery starts from the newest.
    marked, aliased, named
        Marked ``keep``; pointed at by an alias now or lately; named by a retained event.

    Raises
    ------
    ValueError
        ``keep_last`` is below 1.
    """
    if keep_last < 1:
        raise ValueError(f"keep_last: expected at least 1, found {keep_last}")
    sound = sorted(version for version in versions if version in manifests)
    held = {*sound[-keep_last:], *marked, *aliased, *named}
    return [version for version in sound if version not in held]
