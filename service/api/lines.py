"""What lines ask, in whatever protocol: rows to predict and learn, and labels that come later."""

from __future__ import annotations

import time
from asyncio import Future
from collections.abc import Callable, Mapping
from typing import NamedTuple

from service.access.keys import Key
from service.answers import Question, with_replaced
from service.api.access import line_of
from service.api.answered import Answered
from service.api.engine import Engine, Teacher
from service.api.rates import Rates
from service.api.silent import Silent
from service.api.turn import SMALL_ROWS, Turn
from service.errors import LabelsRefused, unknown_version
from service.learner.requests import LateLabels, Posted
from service.metrics.tally import Count, Sum
from service.rows import Labels, Rows
from service.schema import Readings, Replaced

Headers = Mapping[bytes, bytes]
"""Of a request, by names in lower case."""


class Pending(NamedTuple):
    """JSON that is given once it is computed, and what it tells of durable; ``finish`` completes
    it, where it is given."""

    future: Future[bytes]
    finish: Callable[[bytes], bytes]


Answer = bytes | Pending


class Call(NamedTuple):
    """A question's model, the version that is to answer or None, the request's headers, the key of
    who asks, None where nobody is asked for one, the id of the request's trace, and when its body
    was here, of `time.perf_counter`."""

    model: str
    version: str | None
    headers: Headers
    key: Key | None
    trace: str | None
    started: float


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


class Counted(NamedTuple):
    """The metrics of a model that every batch counts in."""

    decode: Sum
    compute: Sum
    rows: Count


class Lines:
    """Requests of lines to a learner, or to a replica, which refuses labels.

    Both questions raise errors of `service.errors`.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.rates = Rates(engine.limits)
        self.last: dict[str, float] = {}
        """When a model was last asked, in unix seconds."""
        self.silent = Silent(engine.metrics)
        self._counted: dict[str, Counted] = {}
        self._teacher = engine if isinstance(engine, Teacher) else None
        self._turn = Turn(engine)
        self._answered = Answered()
        if self._teacher is not None:
            self._teacher.on_answers = self._answered.let_out

    def teacher(self) -> Teacher:
        """Who takes labels; raises LabelsRefused."""
        if self._teacher is None:
            raise LabelsRefused("a replica does not learn; send labels to the learner")
        return self._teacher

    def batch(self, call: Call, batch: Batch) -> Answer:
        """Predict rows, and learn those that are labelled; the call's version is one of
        `Engine.versions`."""
        model, version, key = call.model, call.version, call.key
        line = line_of(key, batch.line)
        if version is not None and version not in (versions := self.engine.versions(model)):
            raise unknown_version(version, versions)
        readings = batch.readings
        self.rates.rows(key, len(readings.rows))
        replaced = self.engine.model(model).schema.replaced(readings)
        counted = self._counted.get(model) or self._count_of(model)
        asked = time.perf_counter()
        counted.decode.observe(asked - call.started)

        def finish(answer: bytes) -> bytes:
            self._predicted(model, len(readings.rows), replaced)
            return with_replaced(answer, replaced)

        def computed(answer: bytes) -> bytes:
            counted.compute.observe(time.perf_counter() - asked)
            return finish(answer)

        if self._teacher is None or (batch.labels is None and batch.batch_id is None):
            question = Question(readings, batch.batch_id)
            if len(readings.rows) > SMALL_ROWS:
                return computed(*self.engine.predict(model, [question], version))
            said = self._turn.ask(model, question, version)
            return computed(said) if isinstance(said, bytes) else Pending(said, computed)
        received_at = self._teacher.clock()
        about = batch.batch_id, line, batch.observed_at, call.trace
        work = Posted(model, readings, batch.labels, received_at, *about)
        return Pending(self._answered.wait_for(self._teacher.post(work)), finish)

    def late(self, call: Call, late: Late) -> Answer:
        """Labels for the rows of an earlier batch."""
        teacher = self.teacher()
        line = line_of(call.key, late.line)
        self.rates.rows(call.key, len(late.labels))
        work = LateLabels(
            call.model,
            late.batch_id,
            late.labels,
            teacher.clock(),
            late.rows,
            late.relabel,
            line,
            late.observed_at,
            call.trace,
        )
        self.engine.metrics.spent(call.model, "decode", time.perf_counter() - call.started)
        return Pending(self._answered.wait_for(teacher.post(work)), _as_it_is)

    def _count_of(self, model: str) -> Counted:
        metrics = self.engine.metrics
        found = self._counted[model] = Counted(
            metrics.sum(metrics.stage_seconds, model, "decode"),
            metrics.sum(metrics.stage_seconds, model, "compute"),
            metrics.count(metrics.rows, model, "predicted"),
        )
        return found

    def _predicted(self, model: str, rows: int, replaced: Replaced) -> None:
        self.last[model] = time.time()
        metrics = self.engine.metrics
        self._counted[model].rows.inc(rows)
        schema = self.engine.model(model).schema
        self.silent.saw(model, schema, rows, replaced)
        for kind, counts in replaced.items():
            for sensor, count in counts.items():
                column = schema.column(sensor)
                named = column is not None and column < self.engine.watcher.max_features
                feature = sensor if named else "other"
                metrics.child(metrics.readings, model, kind, feature).inc(count)


def _as_it_is(answer: bytes) -> bytes:
    return answer
