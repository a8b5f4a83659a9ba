"""Snapshots: from a live state to files in the store, without stalling the writer.

A state is immutable, so the writer hands over a reference at an event boundary and goes on; one
thread of its own exports, checks parity, writes, and moves the aliases.
"""

from __future__ import annotations

import platform
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import structlog
import torch
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from model_store import failpoints
from model_store.snapshots import SnapshotStore
from service.dll import State, forward, from_bytes, to_bytes
from service.dll.export import to_onnx
from service.live import LiveModel
from service.schema import Rows
from service.session import TOLERANCE, Session

log = structlog.get_logger()

GRAPH, STATE, SCORE = "model.onnx", "state.safetensors", "prequential.safetensors"
CHAMPION, CANDIDATE = "champion", "candidate"

DRAWN_GOLDEN_ROWS = 16


class ParityBroken(Exception):
    """torch and onnxruntime disagree by more than the tolerance; nothing is published."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One snapshot to take: of a committed state, and why."""

    live: LiveModel
    state: State
    score: dict[str, NDArray[Any]]
    summary: dict[str, Any]
    recent: Rows
    cause: str
    parent: int | None
    actor: str = "apical"
    reason: str = ""
    event: int | None = None
    crown: bool = False
    future: Future[dict[str, Any]] = field(default_factory=Future)


def software() -> dict[str, Any]:
    """What must be equal for a replay to be bitwise."""
    return {
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": "cpu",
    }


def golden_rows(live: LiveModel, recent: Rows) -> Rows:
    """Rows that every replica must answer alike: drawn from the declared ranges, some readings
    missing, and the latest real ones behind them."""
    rng = np.random.default_rng(0)
    low = np.array([s.low for s in live.schema.sensors])
    high = np.array([s.high for s in live.schema.sensors])
    drawn = rng.uniform(low, high, (DRAWN_GOLDEN_ROWS, len(low))).astype(np.float32)
    drawn[rng.random(drawn.shape) < 0.1] = np.nan
    return np.concatenate([drawn, recent])


def _listed(rows: Rows) -> list[list[float | None]]:
    return [[None if np.isnan(v) else float(v) for v in row] for row in rows]


class Publisher:
    """The thread that turns jobs into published snapshots, one after the other.

    Parameters
    ----------
    store
        Open for writing.
    on_published, on_failed
        Called with the model's name and the manifest, or the error, from the publisher's thread.
    """

    def __init__(
        self,
        store: SnapshotStore,
        on_published: Callable[[str, dict[str, Any], float], None],
        on_failed: Callable[[str, Exception], None],
    ) -> None:
        self._store = store
        self._on_published = on_published
        self._on_failed = on_failed
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="publisher")

    def start(self) -> None:
        self._thread.start()

    def submit(self, job: Job) -> None:
        self._jobs.put(job)

    def close(self) -> None:
        """Finish what was submitted, then stop."""
        self._jobs.put(None)
        self._thread.join()

    def load(self, model: str, version: int) -> State:
        """The learner state of a stored snapshot, verified against its manifest."""
        return from_bytes(self._store.read(model, version, STATE))

    def load_score(self, model: str, version: int) -> dict[str, NDArray[Any]]:
        """The prequential score saved with a snapshot."""
        return dict(load_arrays(self._store.read(model, version, SCORE)))

    def publish(self, job: Job) -> dict[str, Any]:
        """Take the snapshot now, on the caller's thread: its manifest.

        Raises
        ------
        ParityBroken
            The graph's answers are not the network's.
        StorageError
            The store refused; what was live stays live.
        """
        live, state = job.live, job.state
        graph = to_onnx(state)
        rows = golden_rows(live, job.recent)
        expected = forward(state, torch.tensor(rows)).numpy()
        difference = float(np.abs(Session(graph).probabilities(rows) - expected).max())
        if not difference <= TOLERANCE:
            raise ParityBroken(
                f"{live.name} at seq {state.seq}: expected torch and onnxruntime to agree to "
                f"{TOLERANCE:g}, found {difference:g}"
            )
        learning = asdict(state.configuration)
        manifest = {
            "model": live.name,
            "parent": job.parent,
            "seq": state.seq,
            "updates": state.steps,
            "cause": job.cause,
            "event": job.event,
            "reason": job.reason,
            "schema": live.schema.to_json(),
            "learning": learning,
            "step_size": state.step_size,
            "frozen": state.frozen,
            "prequential": job.summary,
            "parity": {"rows": len(rows), "max_abs_diff": difference, "tolerance": TOLERANCE},
            "golden": {"rows": _listed(rows), "probabilities": expected.tolist()},
            "software": software(),
        }
        files = {GRAPH: graph, STATE: to_bytes(state), SCORE: bytes(save_arrays(job.score))}
        version = self._store.next_version(live.name)
        published = self._store.publish(live.name, version, files, manifest)
        failpoints.reach("snapshot.before_alias")
        live.snapshot = version
        self._move_aliases(job, published)
        return published

    def _move_aliases(self, job: Job, manifest: dict[str, Any]) -> None:
        name = job.live.name
        # The first snapshot is champion under every policy: replicas need something to serve.
        crown = (
            job.crown
            or job.live.spec.promotion == "immediate"
            or self._store.alias(name, CHAMPION) is None
        )
        self.point(name, CHAMPION if crown else CANDIDATE, manifest, force=job.crown)

    def point(
        self,
        model: str,
        alias: str,
        manifest: dict[str, Any],
        *,
        force: bool = False,
        pinned: bool = False,
    ) -> None:
        """Move an alias to a snapshot; a pinned one moves by ``force`` only."""
        now = self._store.alias(model, alias)
        if now is not None and now.pinned and not force:
            return
        self._store.set_alias(
            model,
            alias,
            manifest["version"],
            generation=0 if now is None else now.generation,
            seq=manifest["seq"],
            pinned=pinned,
        )

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            started = time.perf_counter()
            try:
                manifest = self.publish(job)
            # One snapshot that fails, for whatever reason, must not end all later ones.
            except Exception as error:
                log.error(
                    "snapshot failed",
                    model=job.live.name,
                    seq=job.state.seq,
                    error=str(error),
                    exc_info=True,
                )
                self._on_failed(job.live.name, error)
                job.future.set_exception(error)
            else:
                took = time.perf_counter() - started
                log.info(
                    "snapshot published",
                    model=job.live.name,
                    version=manifest["version"],
                    seq=job.state.seq,
                    cause=job.cause,
                    seconds=round(took, 4),
                )
                self._on_published(job.live.name, manifest, took)
                job.future.set_result(manifest)
