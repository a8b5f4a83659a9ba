"""One round: a learner, and the gate and guard that the service itself puts beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.guard.streams import BAD_LINE, SENSORS, Stream
from service.config.model import Feature, Model
from service.history.alarms import Alarms
from service.history.verbs import Alarm, Freeze, Promote, Quarantine, Reject
from service.kernels.by_state import KernelByState
from service.learner.steward import Steward
from service.learner.taken import Lessoned
from service.metrics.declared import Metrics
from service.rows import UNKNOWN
from service.state import Labelled, plain

BAD = f"line {BAD_LINE}"

SNAPSHOT_EVERY = 1_000
"""Labelled rows."""

BEFORE_ROWS = 2_000
"""Before the onset, in which the accuracy is measured."""


@dataclass
class Round:
    """What happened in one round; rows are positions in its stream."""

    onset: int
    rows: int = 0
    accuracy: float = 0.0
    guard_row: int | None = None
    frozen: bool = False
    line_named: bool | None = None
    clean_rows_quarantined: int = 0
    poisoned_in_champion: int = 0
    first_promotion: int | None = None
    promotions: int = 0
    rejections: int = 0
    discarded: int = 0
    suspicions: int = 0
    signals: list[dict[str, Any]] = field(default_factory=list)


def run(given: Stream, classes: int, seed: int, batch: int = 1) -> Round:
    """The full loop over one stream, ``batch`` rows a request, each row a step of its own."""
    kernel = KernelByState()
    born = kernel.initial(
        plain(ranges=((-6.0, 6.0),) * SENSORS, classes=classes, seed=seed, rows_per_step=1)
    )
    state = born._replace(kernel="onnx")
    alarms = Alarms()
    steward = Steward(_spec(classes), kernel, Metrics(), alarms)
    steward.crowned(1, state, seq=0, pinned=False, replaced=False)
    rows = given.x.astype(np.float32)
    found, version, due, right = Round(given.onset), 1, SNAPSHOT_EVERY, 0
    learned_poison = 0
    poison_of = {1: 0}
    for first in range(0, len(rows), batch):
        part = slice(first, first + batch)
        line = "" if given.lines is None else f"line {given.lines[first]}"
        labels = given.labels[part]
        if line in state.quarantined:
            labels = np.full_like(labels, UNKNOWN)
            found.clean_rows_quarantined += len(labels) * (line != BAD)
        state, reply = kernel.apply(state, Labelled(rows[part], labels))
        assert reply is not None
        found.rows += len(labels)
        learned_poison += int(given.poisoned[part][labels != UNKNOWN].sum())
        if given.onset - BEFORE_ROWS <= first < given.onset:
            right += int((reply.probabilities.argmax(1) == labels).sum())
        suspicious = steward.suspicious
        lesson = Lessoned(rows[part], labels, reply, line)
        orders = steward.observe(state.seq, lesson, steward.asked([lesson]))
        found.suspicions += steward.suspicious and not suspicious
        for order in orders:
            steward.settled(order, committed=True)
            alarms.heard(order, state.seq, float(first))
            match order.verb:
                case Alarm(again=True):
                    continue
                case Promote(version=promoted):
                    found.promotions += 1
                    if found.first_promotion is None:
                        found.first_promotion = first
                    poisoned = poison_of[promoted]
                    found.poisoned_in_champion = max(found.poisoned_in_champion, poisoned)
                case Reject():
                    found.rejections += 1
                case Quarantine(line=named):
                    state, _ = kernel.apply(state, order.verb.event(None))
                    said = {**(order.evidence or {}), "row": first, "message": order.reason}
                    found.signals.append(said)
                    right_one = named == BAD and first >= given.onset and given.poisoned.any()
                    found.line_named = right_one or bool(found.line_named)
                    if right_one:
                        found.guard_row = first
                case Alarm() | Freeze():
                    said = {**(order.evidence or {}), "row": first, "message": order.reason}
                    found.signals.append(said)
                    if isinstance(order.verb, Freeze):
                        found.guard_row = first
                        found.frozen = True
                        found.discarded = len(said["discarded"])
        if found.guard_row is not None:
            # The round is over: poison was found, or what was clean is frozen.
            break
        if state.steps >= due:
            version, due = version + 1, due + SNAPSHOT_EVERY
            poison_of[version] = learned_poison
            steward.snapshot_taken(version, state)
    found.accuracy = right / BEFORE_ROWS
    return found


def _spec(classes: int) -> Model:
    features = [Feature(name=f"sensor_{index}", range=(-6.0, 6.0)) for index in range(SENSORS)]
    names = [f"class_{index}" for index in range(classes)]
    return Model(name="line", classes=names, features=features, promotion="gate", guard="freeze")
