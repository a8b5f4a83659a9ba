"""A replica on a store."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version

from model_store.snapshots.store import SnapshotStore
from service.config.limits import Limits
from service.config.process import Drift
from service.metrics.declared import Metrics
from service.replica.replica import Replica


def open_replica(
    location: str,
    models: Iterable[str] = (),
    *,
    poll_s: float = 1.0,
    limits: Limits | None = None,
    drift: Drift | None = None,
    serve_untrained: bool = True,
) -> Replica:
    """Open a store for reading and put a replica on it; see `Replica`.

    Raises
    ------
    StorageError
        The location is no store, or cannot be read.
    """
    metrics = Metrics()
    store = SnapshotStore.open(location, told=metrics.stored)
    metrics.build.labels(version("apical"), "replica").set(1)
    return Replica(
        store,
        models,
        metrics,
        poll_s=poll_s,
        limits=limits,
        drift=drift,
        serve_untrained=serve_untrained,
    )
