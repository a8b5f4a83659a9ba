"""A read-only replica: follows an alias of the store, and answers from onnxruntime.

It has nothing to lose: kill it and start another. It distrusts what it reads: a snapshot is served
only after its digests, its graph and its golden rows were checked, and if any of that fails, the
version before goes on serving.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import structlog

from model_store.errors import StorageError, StoreError
from model_store.snapshots.aliases import Alias
from model_store.snapshots.store import SnapshotStore
from service.answers import UNTRAINED, Question
from service.config.limits import Limits
from service.config.process import Drift
from service.errors import Unavailable, UnknownModel
from service.manifest import CANDIDATE, CHAMPION
from service.metrics.declared import Metrics
from service.replica import describe
from service.replica.serving import Followed, load
from service.watcher import Watcher

log = structlog.get_logger()


STOP_S = 10.0
"""How long a stop waits for the store."""


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
    serve_untrained
        Answer, and say so, while no champion has learned anything; else requests get 503.
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
        serve_untrained: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.metrics = metrics
        self.limits = limits or Limits()
        self.poll_s = poll_s
        self.serve_untrained = serve_untrained
        self.clock = clock
        self.on_fatal: Callable[[BaseException], None] = lambda error: None
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
        self._follower = threading.Thread(target=self._follow, name="follower", daemon=True)

    def start(self) -> None:
        """Serve what there is, then follow."""
        self.watcher.start()
        self.poll()
        if self.not_ready:
            log.warning("waiting for a champion", why=self.not_ready)
        self._follower.start()

    def stop(self) -> None:
        """Let a start that is under way leave off; waits for nothing."""
        self._stop.set()

    def close(self) -> None:
        """Stop following; more than once is harmless."""
        self._stop.set()
        self.watcher.close()
        if self._follower.is_alive():
            # Not beyond this where the store hangs: there is nothing to lose.
            self._follower.join(STOP_S)
        self.store.close()

    @property
    def not_ready(self) -> str | None:
        """Why no request may be sent here now; None when ready."""
        if self._stop.is_set():
            return "shutting down"
        # A poll on another thread may find new models meanwhile.
        models = list(self.models.items())
        waiting = [name for name, model in models if model.serving is None]
        if waiting or not models:
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

    def predict(
        self, model: str, questions: Sequence[Question], version: str | None = None
    ) -> list[bytes]:
        """Answer from the version that serves now, or from the one before it."""
        return self.model(model).predict(questions, version)

    def versions(self, model: str) -> tuple[str, ...]:
        """The snapshot that serves, and the one before it."""
        return self.model(model).versions

    def status(self, model: str) -> str:
        """Whether what it serves is a champion, or has yet to become one."""
        return self.model(model).status

    def describe(self, model: str) -> dict[str, Any]:
        """What `GET /v1/models/{model}` says."""
        return describe.model(self.model(model), self.role)

    def snapshots(self, model: str) -> list[dict[str, Any]]:
        """The two versions that it holds: the champion and the one before."""
        return describe.snapshots(self.model(model))

    def snapshot(self, model: str, version: int) -> dict[str, Any]:
        """One manifest; raises UnknownSnapshot."""
        return describe.snapshot(self.model(model), version)

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
        for name, followed in list(self.models.items()):
            if followed.alias is not None:
                metrics.replica_generation.labels(name).set(followed.alias.generation)
                behind = followed.serving is None or (
                    followed.serving.version != followed.alias.version
                )
                since = self.clock() - followed.alias.updated_at if behind else 0.0
                metrics.replica_lag_seconds.labels(name).set(since)
            if followed.serving is not None:
                shown = followed.serving.schema.display_name
                metrics.say(metrics.model_info, name, shown or name)
                metrics.untrained.labels(name).set(followed.untrained)
                metrics.replica_version.labels(name).set(followed.serving.version)
                metrics.durable_seq.labels(name).set(followed.serving.seq)

    def _champion(self, followed: Followed) -> Alias | None:
        """What is to be served: the champion, or the newest snapshot while the champion, which
        nobody holds there, has learned nothing."""
        champion = self.store.alias(followed.name, CHAMPION)
        if champion is None or (not followed.untrained and champion == followed.alias):
            return champion
        untrained = not champion.pinned and not self._updates(followed.name, champion.version)
        if untrained != followed.untrained:
            followed.untrained, followed.alias = untrained, None
            if untrained:
                log.warning("untrained", model=followed.name, message=UNTRAINED)
        newest = self.store.alias(followed.name, CANDIDATE) if untrained else None
        return champion if newest is None or newest.version < champion.version else newest

    def _updates(self, model: str, version: int) -> int:
        """What a snapshot has learned; a damaged one is refused elsewhere."""
        try:
            return int(self.store.manifest(model, version).get("updates", 1))
        except StorageError:
            return 1

    def _update(self, followed: Followed) -> None:
        alias = self._champion(followed)
        if followed.untrained and not self.serve_untrained:
            followed.serving = None
            return
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
                == serves.manifest.digest
            )
        ):
            return
        previous = followed.previous
        started = time.perf_counter()
        try:
            manifest = self.store.manifest(followed.name, alias.version)
            if previous is not None and previous.manifest.digest == manifest["digest"]:
                serving = previous
            else:
                serving = load(self.store, followed.name, alias.version)
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
        reference = serving.manifest.drift_reference
        schema = serving.schema
        about = schema.ranges, schema.values
        self.watcher.watch(followed.name, schema.names, reference, 0, *about)
        followed.previous = followed.serving
        followed.serving = serving
        seconds = time.perf_counter() - started
        self.metrics.replica_swap_seconds.labels(followed.name).observe(seconds)
        log.info(
            "serving",
            model=followed.name,
            **schema.called,
            version=serving.version,
            seq=serving.seq,
            generation=alias.generation,
            seconds=round(seconds, 4),
        )

    def _follow(self) -> None:
        while not self._stop.wait(self.poll_s):
            self.poll()
