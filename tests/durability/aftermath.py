"""What a crash leaves, and what may be concluded from it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from model_store.log.log import EventLog
from model_store.snapshots.store import SnapshotStore
from service.bootstrap.learner import open_learner
from service.config.process import Configuration
from service.history.lessons import event_of
from service.history.verbs import replaces
from service.learner.learner import Learner
from service.state import State
from service.state.file import from_bytes
from tests.kernel import KERNEL

MODEL = "press"
STATE = "state.safetensors"
LOG_FILES = ("events.sqlite3", "events.sqlite3-wal", "events.high", "events.dirty")


@contextlib.contextmanager
def learning(configuration: Configuration, **options) -> Iterator[Learner]:
    """A real learner on real files, without HTTP; closed, however the block ends."""
    learner = open_learner(configuration, **options)
    try:
        learner.start()
        yield learner
    finally:
        learner.close()


def copy_log(folder: Path, into: Path) -> None:
    """The log's files as a process that dies now leaves them."""
    (into / "log").mkdir(parents=True)
    for name in LOG_FILES:
        if (folder / "log" / name).exists():
            shutil.copy(folder / "log" / name, into / "log" / name)


def copy_store(folder: Path, into: Path) -> None:
    shutil.copytree(folder / "store", into / "store")


def stored_states(store: SnapshotStore) -> dict[int, State]:
    """The state of every snapshot by version."""
    return {v: from_bytes(store.read(MODEL, v, STATE)) for v in store.versions(MODEL)}


def history(events: EventLog, versions: dict[int, State], born: State) -> list[State]:
    """The state after each event, the newborn's first: the plain fold of `apply` over the log."""
    states = [born]
    for record in events.events(MODEL):
        replacement = versions[record.snapshot or 0] if replaces(record) else None
        states.append(KERNEL.apply(states[-1], event_of(record, replacement))[0])
    return states
