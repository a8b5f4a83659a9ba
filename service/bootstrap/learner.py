"""A learner from a configuration."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from model_store.log.log import EventLog
from model_store.snapshots.store import SnapshotStore
from service.config.process import Configuration
from service.kernels.by_state import KernelByState
from service.learner.learner import Learner
from service.manifest import readable
from service.metrics.declared import Metrics

Progress = Callable[[str, int, int], None]
"""Told, while a log is replayed, the model's name, events done and events in all."""


def silent(model: str, done: int, total: int) -> None:
    """Nobody watches."""


def open_learner(
    configuration: Configuration,
    *,
    accept_loss: bool = False,
    take_over: bool = False,
    progress: Progress = silent,
) -> Learner:
    """Open store and log of a configuration and put a learner on them; see `SnapshotStore.open`.

    Raises
    ------
    StorageError
        Another learner holds them, or they cannot be trusted; names the file and the remedy.
    """
    metrics = Metrics()
    place = configuration.storage.store
    store = SnapshotStore.open(place, write=True, take_over=take_over, told=metrics.stored)
    try:
        newest = {model: _newest_seq(store, model) for model in store.models()}
        events = EventLog.open(
            Path(configuration.storage.log), newest_snapshots=newest, accept_loss=accept_loss
        )
    except BaseException:
        store.close()
        raise
    metrics.build.labels(version("apical"), "learner").set(1)
    return Learner(configuration, store, events, KernelByState(), metrics, progress=progress)


def _newest_seq(store: SnapshotStore, model: str) -> int:
    """Of the newest snapshot whose manifest can be read; `recover` sets the others aside. A staged
    one counts too: the log had got as far as that."""
    newest = next(readable(store, model), None)
    return newest.seq if newest is not None else 0
