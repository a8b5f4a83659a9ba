"""``state == replay(snapshot, log[snapshot.seq:])``, bitwise, whatever happens in between."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from service.errors import Refused
from service.history.replay import replay
from service.history.verbs import VERBS, Order, Rollback, SetStepSize
from service.learner.learner import Learner
from service.learner.requests import LateLabels, TakeSnapshot
from service.rows import UNKNOWN
from service.state import Freeze, Labelled, Replace, State, StepSize, Thaw, same
from tests.durability.aftermath import MODEL, copy_log, copy_store, learning, stored_states
from tests.kernel import KERNEL, born
from tests.line import NOW, posted, readings, submit
from tests.serving import press

IDS = ("a", "b", "c")

rows = st.integers(1, 5)
labels = st.lists(st.sampled_from([UNKNOWN, 0, 1]), min_size=5, max_size=5)
some_labels = st.tuples(st.sampled_from([0, 1]), labels).map(lambda drawn: [drawn[0], *drawn[1]])
action = (
    st.tuples(st.just("labelled"), rows, some_labels)
    | st.tuples(st.just("labelled"), rows, some_labels)
    | st.tuples(st.just("batch"), st.sampled_from(IDS), labels)
    | st.tuples(st.just("late"), st.sampled_from(IDS), some_labels, st.booleans())
    | st.tuples(st.just("relabel"), st.sampled_from(IDS), some_labels)
    | st.tuples(st.just("rollback"), st.integers(0, 9))
    | st.tuples(st.sampled_from(["freeze", "thaw"]))
    | st.tuples(st.just("step_size"), st.floats(1e-3, 1.0))
    | st.tuples(st.just("snapshot"))
)
crash = st.sampled_from([None, None, None, "after", "around", "clean"])
steps = st.lists(st.tuples(action, crash), min_size=3, max_size=16)


@dataclass
class Expected:
    """The state by a fold of `apply` over what was asked for: no log, no snapshot, no learner.

    ``truth`` holds the rows and the known labels of each batch_id.
    """

    state: State
    stored: dict[int, State] = field(default_factory=dict)
    truth: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def learn(self, taught: np.ndarray, with_labels: np.ndarray) -> None:
        lesson = Labelled(taught, with_labels)
        self.state, _ = KERNEL.apply(self.state, lesson)

    def late(self, batch_id: str, given_labels: np.ndarray, *, relabel: bool) -> None:
        batch, known = self.truth[batch_id]
        new = (given_labels != UNKNOWN) & (known == UNKNOWN)
        if relabel:
            new |= (given_labels != UNKNOWN) & (known != given_labels)
        if new.any():
            self.learn(batch[new], given_labels[new])
            self.truth[batch_id] = batch, np.where(new, given_labels, known)


def carry_out(learner: Learner, expected: Expected, number: int, chosen: tuple[Any, ...]) -> None:
    """Ask the learner for it, and do the same to the expected state."""
    kind, *arguments = chosen
    if kind == "labelled":
        batch = readings(number, arguments[0])
        given_labels = np.array(arguments[1][: len(batch)], np.int64)
        submit(learner, posted(batch, given_labels, None))
        expected.learn(batch, given_labels)
    elif kind == "batch":
        batch_id = arguments[0]
        batch = readings(IDS.index(batch_id), 3)
        given_labels = np.array(arguments[1][:3], np.int64)
        first = batch_id not in expected.truth
        if (given_labels == UNKNOWN).all():
            submit(learner, posted(batch, None, batch_id))
            expected.truth.setdefault(batch_id, (batch, np.full(3, UNKNOWN)))
            return
        answer = submit(learner, posted(batch, given_labels, batch_id))
        assert submit(learner, posted(batch, given_labels, batch_id)) == answer
        if first:
            # One event of all its rows; what comes later holds but those that teach.
            expected.learn(batch, given_labels)
            expected.truth[batch_id] = batch, given_labels
        else:
            expected.late(batch_id, given_labels, relabel=False)
    elif kind in ("late", "relabel"):
        batch_id = arguments[0]
        along = readings(IDS.index(batch_id), 3) if arguments[-1] is True else None
        given_labels = np.array(arguments[1][:3], np.int64)
        relabel = kind == "relabel"
        work = LateLabels(MODEL, batch_id, given_labels, NOW, along, relabel)
        outcomes = orjson.loads(submit(learner, work))["outcomes"]
        if batch_id not in expected.truth and along is None:
            assert set(outcomes) <= {"unknown", "unlabelled"}
            return
        expected.truth.setdefault(batch_id, (readings(IDS.index(batch_id), 3), np.full(3, UNKNOWN)))
        expected.late(batch_id, given_labels, relabel=relabel)
    elif kind == "snapshot":
        found = submit(learner, TakeSnapshot(MODEL, "demand"))
        expected.stored.setdefault(found["version"], expected.state)
        assert found["seq"] == expected.state.seq
    elif kind == "rollback":
        versions = learner.store.versions(MODEL)
        version = versions[arguments[0] % len(versions)]
        submit(learner, Order(MODEL, Rollback(version), "test", "test"))
        restored = stored_states(learner.store)[version]
        if version in expected.stored:
            assert same(restored, expected.stored[version])
        expected.state, _ = KERNEL.apply(expected.state, Replace(restored))
    elif kind == "step_size":
        submit(learner, Order(MODEL, SetStepSize(arguments[0]), "test", "test"))
        expected.state, _ = KERNEL.apply(expected.state, StepSize(arguments[0]))
    elif expected.state.frozen == (kind == "freeze"):
        with pytest.raises(Refused):
            submit(learner, Order(MODEL, VERBS[kind](), "test", "test"))
    else:
        submit(learner, Order(MODEL, VERBS[kind](), "test", "test"))
        expected.state, _ = KERNEL.apply(expected.state, Freeze() if kind == "freeze" else Thaw())


def check(learner: Learner, expected: Expected) -> None:
    """The live state is the expected one, and what replay gives from every snapshot."""
    assert same(learner.models[MODEL].published, expected.state)
    states = stored_states(learner.store)

    def load(model: str, version: int) -> State:
        return states[version]

    for version, state in states.items():
        again = replay(KERNEL, state, learner.events.events(MODEL, after=state.seq), load)
        assert same(again, expected.state), f"replay from snapshot {version}"


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
@given(steps=steps)
def test_the_state_is_the_replay_of_the_log_from_every_snapshot(steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        # What is left of one learner is what the next one finds.
        here, crashes = Path(name) / "0", 0
        remaining = list(enumerate(steps))
        expected = Expected(born(press(here).models[0]))
        while remaining:
            there = Path(name) / str(crashes + 1)
            with learning(configured(here, expected.state)) as learner:
                check(learner, expected)
                while remaining:
                    number, (chosen, how) = remaining.pop(0)
                    if how == "around":
                        # Dies between the commit and the snapshot that follows from it.
                        copy_store(here, there)
                    stored = dict(expected.stored)
                    carry_out(learner, expected, number, chosen)
                    if how == "around":
                        # A snapshot that was not copied is one that was never taken.
                        expected.stored = stored
                    event(f"{chosen[0]}, crash: {how}")
                    if how == "after":
                        copy_store(here, there)
                    if how in ("after", "around"):
                        copy_log(here, there)
                    if how is not None:
                        break
                check(learner, expected)
            if how in ("after", "around"):
                here, crashes = there, crashes + 1
        with learning(configured(here, expected.state)) as learner:
            check(learner, expected)


def configured(folder: Path, state: State):
    """As the state was: a start with another step size would be one more event."""
    members = [network.name for network in state.configuration.networks]
    return press(folder, model=f"members = {members}\nstep_size = {state.step_size!r}")
