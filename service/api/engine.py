"""What the HTTP layer needs of the process behind it, be it a learner or a replica."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, runtime_checkable

from service.answers import Question
from service.config.limits import Limits
from service.learner.requests import LateLabels, Posted
from service.metrics.declared import Metrics
from service.schema import Schema
from service.watcher import Watcher


class Served(Protocol):
    """One model, as the HTTP layer sees it."""

    @property
    def schema(self) -> Schema: ...


class Engine(Protocol):
    """A learner or a replica."""

    role: str
    metrics: Metrics
    watcher: Watcher
    on_fatal: Callable[[BaseException], None]
    """Called when the process cannot go on; whoever runs the server stops it."""

    @property
    def limits(self) -> Limits: ...
    @property
    def not_ready(self) -> str | None: ...
    @property
    def models(self) -> Mapping[str, Served]: ...

    def start(self) -> None: ...
    def stop(self) -> None:
        """Let a start that is under way leave off; waits for nothing."""
        ...

    def close(self) -> None:
        """Let go of everything; more than once is harmless."""
        ...

    def model(self, name: str) -> Served: ...
    def predict(
        self, model: str, questions: Sequence[Question], version: str | None = None
    ) -> list[bytes]:
        """Answer each by one of `versions`, the first by default.

        Raises
        ------
        UnknownSnapshot, Unavailable, NotFinite
            Nothing was answered.
        """
        ...

    def versions(self, model: str) -> tuple[str, ...]:
        """By what names it can answer, the default first."""
        ...

    def status(self, model: str) -> str:
        """How far a model has got: ``untrained``, ``on probation`` or ``champion``."""
        ...

    def describe(self, model: str) -> dict[str, Any]: ...
    def snapshots(self, model: str) -> list[dict[str, Any]]: ...
    def snapshot(self, model: str, version: int) -> dict[str, Any]: ...
    def refresh_metrics(self) -> None: ...


@runtime_checkable
class Teacher(Engine, Protocol):
    """An engine that can learn: it takes labels, and has operators' verbs."""

    clock: Callable[[], float]
    on_answers: Callable[[], None]
    """Called by the writer's thread once a group is answered, before it goes on."""

    def post(self, work: Posted | LateLabels) -> Future[bytes]: ...
