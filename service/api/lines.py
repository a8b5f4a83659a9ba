"""What lines ask, in whatever protocol: rows to predict and learn, and labels that come later."""

from __future__ import annotations

from concurrent.futures import Future
from typing import NamedTuple

from service.api.engine import Engine, Teacher
from service.errors import LabelsRefused, unknown_version
from service.learner.requests import LateLabels, Posted
from service.rows import Labels, Rows
from service.schema import Readings

Answer = bytes | Future[bytes]
"""JSON at once, or once what it tells of is durable."""


class Batch(NamedTuple):
    """Rows that were checked; ``labels`` is None where no row has one. ``observed_at`` is in unix
    seconds."""

    readings: Readings
    labels: Labels | None = None
    batch_id: str | None = None
    line: str | None = None
    observed_at: float | None = None


class Late(NamedTuple):
    """Labels for the rows of an earlier batch; see `service.learner.requests.LateLabels`."""

    batch_id: str
    labels: Labels
    rows: Rows | None = None
    relabel: bool = False
    line: str | None = None
    observed_at: float | None = None


class Lines:
    """Requests of lines to a learner, or to a replica, which refuses labels.

    Both questions raise errors of `service.errors`.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._teacher = engine if isinstance(engine, Teacher) else None

    def teacher(self) -> Teacher:
        """Who takes labels; raises LabelsRefused."""
        if self._teacher is None:
            raise LabelsRefused("a replica does not learn; send labels to the learner")
        return self._teacher

    def batch(self, model: str, batch: Batch, version: str | None = None) -> Answer:
        """Predict rows, and learn those that are labelled; ``version`` names who is to answer, as
        in `Engine.versions`."""
        versions = self.engine.versions(model)
        if version is not None and version not in versions:
            raise unknown_version(version, versions)
        readings = batch.readings
        if self._teacher is None or (batch.labels is None and batch.batch_id is None):
            answer: Answer = self.engine.predict(model, readings, batch.batch_id, version)
            self._count(model, readings)
            return answer
        received_at = self._teacher.clock()
        work = Posted(model, readings, batch.labels, received_at, *batch[2:])
        answer = self._teacher.post(work)
        answer.add_done_callback(
            lambda done: None if done.exception() else self._count(model, readings)
        )
        return answer

    def late(self, model: str, late: Late) -> Answer:
        """Labels for the rows of an earlier batch."""
        teacher = self.teacher()
        work = LateLabels(model, late.batch_id, late.labels, teacher.clock(), *late[2:])
        return teacher.post(work)

    def _count(self, model: str, readings: Readings) -> None:
        metrics = self.engine.metrics
        metrics.child(metrics.rows, model, "predicted").inc(len(readings.rows))
        if readings.missing:
            metrics.child(metrics.readings, model, "missing").inc(readings.missing)
        if readings.out_of_range:
            metrics.child(metrics.readings, model, "out_of_range").inc(readings.out_of_range)
