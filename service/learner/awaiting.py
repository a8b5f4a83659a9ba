"""Batches that were predicted and have no label yet: how many, and since when."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from model_store.log.log import Batch, EventLog

MOST = 20_000
"""Batches of a model that are looked after: the latest."""

NONE_KNOWN = b"\xff"
"""What the labels of a batch consist of while none is known: int64 of −1."""


def of_log(events: EventLog, model: str, now: Callable[[], float], horizon_s: float) -> Awaiting:
    """Those that the log still waits for; see `Awaiting`."""
    return Awaiting(events.unlabelled(model, MOST), now, horizon_s)


class Awaiting:
    """Of one model; a batch is known by its ``batch_id``, others cannot be labelled later.

    Parameters
    ----------
    known
        ``batch_id`` and unix seconds of receipt, oldest first.
    now
        Unix seconds, on the clock that batches are received by.
    horizon_s
        After so many seconds labels come too late, and nobody waits for them any more.
    """

    def __init__(
        self, known: Iterable[tuple[str, float]], now: Callable[[], float], horizon_s: float
    ) -> None:
        self._since = OrderedDict(known)
        self._now = now
        self._horizon_s = horizon_s
        self._forget()

    def saw(self, batch: Batch) -> None:
        """A batch as it is remembered from now on; the writer's thread only."""
        if batch.labels.strip(NONE_KNOWN):
            self._since.pop(batch.batch_id, None)
        else:
            self._since.setdefault(batch.batch_id, batch.received_at)
        self._forget()

    def _forget(self) -> None:
        oldest = self._now() - self._horizon_s
        while self._since and (
            len(self._since) > MOST or next(iter(self._since.values())) < oldest
        ):
            self._since.popitem(last=False)

    def count(self) -> int:
        """Batches without any label; any thread."""
        return len(self._since)

    def age(self) -> float:
        """Seconds that the oldest of them waits; 0 where none does; any thread."""
        # A batch may be taken out meanwhile: then the next one is the oldest.
        while self._since:
            try:
                return max(0.0, self._now() - next(iter(self._since.values())))
            except (RuntimeError, StopIteration):
                continue
        return 0.0
