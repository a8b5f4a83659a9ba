"""A state is one value: compared bitwise, saved and read back, never written to."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from service.config.model import Model
from service.dll import apply, initial
from service.learner.specification import differences, resolved
from service.state import Configuration, Freeze, Replace, StepSize, Thaw, arrays, plain, same
from service.state.file import from_bytes, to_bytes
from service.state.network import members
from tests.dll.networks import batch, bits, configurations, lessons, taught

SMALL = plain(ranges=((-1.0, 1.0),) * 2, classes=2, hidden=(3,))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_state_comes_back_from_its_bytes_bitwise_and_learns_on_alike(data: st.DataObject):
    configuration = data.draw(configurations())
    state = taught(configuration)
    again = from_bytes(to_bytes(state))
    assert same(state, again)
    lesson = data.draw(lessons(configuration))
    assert same(apply(state, lesson)[0], apply(again, lesson)[0])


def test_a_gain_of_before_its_floor_was_a_key_keeps_the_floor_of_then(tmp_path):
    """Its log was learned with that one, and must be replayed with it."""
    state = initial(Configuration(((-1.0, 1.0),) * 2, 2, members(("gain", "linear"), (3,), 0)))
    data = to_bytes(state)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["apical"]
    then = json.loads(header)
    for network in then["configuration"]["networks"]:
        assert network.pop("gain_floor") == 1e-7
    named = {name: np.ascontiguousarray(array) for name, array in arrays(state).items()}
    old = from_bytes(save(named, metadata={"apical": json.dumps(then)}))
    assert [network.gain_floor for network in old.configuration.networks] == [1e-8, 1e-8]
    # And goes on under a configuration file that says nothing of it.
    press = Model(
        name="press",
        classes=["ok", "worn"],
        members=["gain", "linear"],
        hidden=[3],
        features=[{"name": name, "range": (-1.0, 1.0)} for name in ("a", "b")],
    )
    stored = json.loads(json.dumps(asdict(old.configuration)))
    assert differences(resolved(press, stored), stored) == []


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_apply_writes_to_nothing_that_it_was_given(data: st.DataObject):
    configuration = data.draw(configurations())
    lesson = data.draw(lessons(configuration))
    state = taught(configuration)
    before = {name: bits(t) for name, t in arrays(state).items()}
    rows = bits(lesson.rows)
    first, _ = apply(state, lesson)
    second, _ = apply(state, lesson)
    assert {name: bits(t) for name, t in arrays(state).items()} == before
    assert bits(lesson.rows) == rows
    assert same(first, second)
    assert not same(first, state)


def test_same_tells_a_single_flipped_bit():
    state = taught(SMALL)
    other = from_bytes(to_bytes(state))
    other.synapses.weights[0].view(np.int32)[0, 0] ^= 1
    assert not same(state, other)


def test_frozen_labels_are_predicted_but_not_learned():
    state = taught(SMALL)
    frozen, _ = apply(state, Freeze())
    lesson = batch(SMALL, 4, torch.Generator().manual_seed(0))
    after, reply = apply(frozen, lesson)
    assert not reply.learned.any()
    assert after.seq == state.seq + 2
    assert after.steps == state.steps
    assert bits(after.synapses.weights[0]) == bits(state.synapses.weights[0])
    assert bits(after.moments.mean) == bits(state.moments.mean)
    thawed, _ = apply(after, Thaw())
    assert apply(thawed, lesson)[1].learned.any()


def test_replace_takes_everything_but_seq_and_whether_it_is_frozen():
    old = taught(SMALL, steps=2)
    now, _ = apply(taught(SMALL, steps=6), Freeze())
    after, _ = apply(now, Replace(old))
    assert after.seq == now.seq + 1
    assert after.frozen
    assert same(after, old._replace(seq=after.seq, frozen=True))


def test_step_size_is_an_event_and_nonsense_is_refused():
    state, _ = apply(taught(SMALL), StepSize(0.2))
    assert state.step_size == 0.2
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="positive finite"):
            apply(state, StepSize(value))


def test_bytes_that_are_no_state_are_refused_with_expected_and_found():
    with pytest.raises(ValueError, match="expected a safetensors file"):
        from_bytes(b"\x00" * 100)
    with pytest.raises(ValueError, match="expected format 2, found None"):
        from_bytes(save({"a": np.zeros(1)}))
    state = initial(SMALL)
    wrong = {name: t for name, t in arrays(state).items() if name != "bias.1"}
    header = json.dumps({"format": 1, "configuration": json.loads(_header(state))["configuration"]})
    with pytest.raises(ValueError, match=r"expected tensors .*bias\.1"):
        from_bytes(save(wrong, metadata={"apical": header}))


def _header(state) -> str:
    data = to_bytes(state)
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length])["__metadata__"]["apical"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ranges": ()}, "at least one sensor"),
        ({"ranges": ((1.0, 1.0),)}, "low < high"),
        ({"classes": 1}, "at least two classes"),
        ({"hidden": (0,)}, "positive"),
        ({"feedback_rule": "copy"}, "feedback rule: expected one of"),
        ({"optimiser": "lbfgs"}, "optimiser: expected one of"),
    ],
)
def test_impossible_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        plain(**{"ranges": ((0.0, 1.0),), "classes": 2, **change})
