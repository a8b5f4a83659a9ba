"""A read-only replica: follows an alias of the store, and answers from onnxruntime.

It has nothing to lose: kill it and start another. It distrusts what it reads: a snapshot is served
only after its digests, its graph and its golden rows were checked, and if any of that fails, the
version before goes on serving.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import structlog

from model_store.errors import StorageError, StoreError
from model_store.snapshots.aliases import Alias
from model_store.snapshots.store import SnapshotStore
from service.answers import AnsweredBy, batch_answer
from service.config import Drift, Limits
from service.errors import Unavailable, UnknownModel, UnknownSnapshot
from service.graph.check import MAX_BYTES, check_graph
from service.graph.session import TOLERANCE, Session, golden_difference
from service.manifest import CHAMPION, GRAPH
from service.metrics import Metrics
from service.schema import Readings, Schema
from service.watcher import Watcher

log = structlog.get_logger()


class SnapshotRefused(Exception):
    """A snapshot did not pass a check; the message says which."""


class Serving(NamedTuple):
    """One version, ready to answer. Everything that a reply names comes from one such value, so a
    swap in the middle of a request cannot mix two versions."""

    version: int
    seq: int
    schema: Schema
    session: Session
    manifest: dict[str, Any]


class Followed:
    """One model of the replica: what it serves, and what served before."""

    def __init__(self, name: str, watcher: Watcher) -> None:
        self.name = name
        self._watcher = watcher
        self.serving: Serving | None = None
        self.previous: Serving | None = None
        self.alias: Alias | None = None
        self.refused: tuple[int, str] | None = None

    @property
    def schema(self) -> Schema:
        return self._now().schema

    def predict(self, readings: Readings, batch_id: str | None) -> bytes:
        serving = self._now()
        probabilities = serving.session.probabilities(readings.rows)
        self._watcher.see(self.name, readings.raw, probabilities)
        by = AnsweredBy("replica", serving.seq, serving.version)
        learned = [False] * len(readings.rows)
        classes = serving.schema.classes
        return batch_answer(self.name, classes, probabilities, learned, by, batch_id)

    def _now(self) -> Serving:
        serving = self.serving
        if serving is None:
            why = (
                f": snapshot {self.refused[0]} was refused: {self.refused[1]}"
                if (self.refused)
                else ""
            )
            raise Unavailable(f"model {self.name!r}: no champion to serve yet{why}")
        return serving


class Replica:
    """Follows the champions of a store.

    Parameters
    ----------
    store
        Open for reading.
    models
        Names to serve; none means all that the store has, also those that come later.
    metrics
        Where it counts.
    poll_s
        Seconds between two looks at the aliases.
    limits
        Of requests.
    drift
        How inputs and predictions are watched; the reference comes with each snapshot.
    """

    role = "replica"

    def __init__(
        self,
        store: SnapshotStore,
        models: Iterable[str],
        metrics: Metrics,
        *,
        poll_s: float = 1.0,
        limits: Limits | None = None,
        drift: Drift | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.metrics = metrics
        self.limits = limits or Limits()
        self.poll_s = poll_s
        self.clock = clock
        drift = drift or Drift()
        self.watcher = Watcher(
            metrics,
            lambda model, alarm: None,
            rows_per_false_alarm=drift.rows_per_false_alarm,
            max_features=drift.metrics_max_features,
        )
        self.models: dict[str, Followed] = {n: Followed(n, self.watcher) for n in models}
        self._all = not self.models
        self._stop = threading.Event()
        self._polling = threading.Lock()
        self._follower = threading.Thread(target=self._follow, name="follower")

    def start(self) -> None:
        """Serve what there is, then follow."""
        self.watcher.start()
        self.poll()
        if self.not_ready:
            log.warning("waiting for a champion", why=self.not_ready)
        self._follower.start()

    def close(self) -> None:
        self._stop.set()
        self.watcher.close()
        if self._follower.is_alive():
            self._follower.join()
        self.store.close()

    @property
    def not_ready(self) -> str | None:
        """Why no request may be sent here now; None when ready."""
        if self._stop.is_set():
            return "shutting down"
        waiting = [name for name, model in self.models.items() if model.serving is None]
        if waiting or not self.models:
            return f"no champion yet of {waiting or 'any model'}"
        return None

    def model(self, name: str) -> Followed:
        """Raises UnknownModel."""
        if not self.models:
            raise Unavailable("the store has no model yet")
        try:
            return self.models[name]
        except KeyError:
            raise UnknownModel(name, sorted(self.models)) from None

    def predict(self, model: str, readings: Readings, batch_id: str | None = None) -> bytes:
        """Answer from the version that serves now."""
        return self.model(model).predict(readings, batch_id)

    def describe(self, model: str) -> dict[str, Any]:
        """What `GET /v1/models/{model}` says."""
        followed = self.model(model)
        serving = followed._now()
        return {
            "model": model,
            "role": self.role,
            **serving.schema.to_json(),
            "seq": serving.seq,
            "snapshot": serving.version,
            "previous": followed.previous.version if followed.previous else None,
            "generation": followed.alias.generation if followed.alias else None,
            "refused": (
                {"version": followed.refused[0], "why": followed.refused[1]}
                if followed.refused
                else None
            ),
            "prequential": serving.manifest["prequential"],
        }

    def snapshots(self, model: str) -> list[dict[str, Any]]:
        """The two versions that it holds: the champion and the one before."""
        followed = self.model(model)
        held = (followed.previous, followed.serving)
        return [
            {
                "model": model,
                "version": s.version,
                "seq": s.seq,
                "created_at": s.manifest["created_at"],
                "serving": s is followed.serving,
            }
            for s in held
            if s is not None
        ]

    def snapshot(self, model: str, version: int) -> dict[str, Any]:
        """One manifest; raises UnknownSnapshot."""
        followed = self.model(model)
        for held in (followed.serving, followed.previous):
            if held is not None and held.version == version:
                return held.manifest
        known = [s["version"] for s in self.snapshots(model)]
        raise UnknownSnapshot(f"model {model!r}: a replica holds {known}, found {version}")

    def poll(self) -> None:
        """Look at every alias once, and load what is new; any thread."""
        with self._polling:
            if self._all:
                with self._tolerant():
                    for name in self.store.models():
                        self.models.setdefault(name, Followed(name, self.watcher))
            for followed in list(self.models.values()):
                with self._tolerant():
                    self._update(followed)

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        """The store may be unreachable for a while, or one alias damaged; what is loaded goes on
        serving, and the other models go on following."""
        try:
            yield
        except (StorageError, OSError) as error:
            self.metrics.replica_poll_failures.inc()
            log.warning("store not readable", error=str(error))

    def refresh_metrics(self) -> None:
        """Bring the gauges up to date; called before a scrape."""
        metrics = self.metrics
        metrics.ready.set(self.not_ready is None)
        self.watcher.measure()
        for name, followed in self.models.items():
            if followed.alias is not None:
                metrics.replica_generation.labels(name).set(followed.alias.generation)
                behind = followed.serving is None or (
                    followed.serving.version != followed.alias.version
                )
                since = self.clock() - followed.alias.updated_at if behind else 0.0
                metrics.replica_lag_seconds.labels(name).set(since)
            if followed.serving is not None:
                metrics.replica_version.labels(name).set(followed.serving.version)
                metrics.durable_seq.labels(name).set(followed.serving.seq)

    def _update(self, followed: Followed) -> None:
        alias = self.store.alias(followed.name, CHAMPION)
        if alias is None:
            if followed.serving is not None:
                raise StoreError(f"{followed.name}: the champion alias is gone")
            return
        if followed.alias is not None and alias.generation < followed.alias.generation:
            log.warning("alias went back", model=followed.name, generation=alias.generation)
        changed, followed.alias = alias != followed.alias, alias
        serves = followed.serving
        if (
            serves is not None
            and serves.version == alias.version
            and (
                not changed
                # The same number in a store that was replaced is another snapshot.
                or self.store.manifest(followed.name, alias.version)["digest"]
                == serves.manifest["digest"]
            )
        ):
            return
        previous = followed.previous
        started = time.perf_counter()
        try:
            manifest = self.store.manifest(followed.name, alias.version)
            if previous is not None and previous.manifest["digest"] == manifest["digest"]:
                serving = previous
            else:
                serving = self._load(followed.name, alias.version)
        # Whatever is wrong with a snapshot, even what its parser crashes on, must not stop the
        # version that serves. It is tried again at the next poll: the disk may have hiccuped.
        except Exception as error:
            self.metrics.replica_load_failures.labels(followed.name).inc()
            if followed.refused != (alias.version, str(error)):
                log.error(
                    "snapshot refused",
                    model=followed.name,
                    version=alias.version,
                    serving=followed.serving.version if followed.serving else None,
                    error=str(error),
                )
            followed.refused = (alias.version, str(error))
            return
        followed.refused = None
        names = [sensor.name for sensor in serving.schema.sensors]
        self.watcher.watch(followed.name, names, serving.manifest["drift_reference"])
        followed.previous = followed.serving
        followed.serving = serving
        seconds = time.perf_counter() - started
        self.metrics.replica_swap_seconds.labels(followed.name).observe(seconds)
        log.info(
            "serving",
            model=followed.name,
            version=serving.version,
            seq=serving.seq,
            generation=alias.generation,
            seconds=round(seconds, 4),
        )

    def _load(self, model: str, version: int) -> Serving:
        manifest = self.store.manifest(model, version)
        schema = Schema.from_json(manifest["schema"])
        graph = self.store.read(model, version, GRAPH, manifest=manifest, limit=MAX_BYTES)
        check_graph(graph, schema)
        session = Session(graph)
        difference = golden_difference(session, manifest["golden"])
        if not difference <= TOLERANCE:
            raise SnapshotRefused(
                f"snapshot {version}: expected its golden rows to agree to {TOLERANCE:g}, "
                f"found a difference of {difference:g}"
            )
        return Serving(version, manifest["seq"], schema, session, manifest)

    def _follow(self) -> None:
        while not self._stop.wait(self.poll_s):
            self.poll()
