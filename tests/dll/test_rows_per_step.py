"""The batch does not matter: rows are learned in their order, however they were packed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.dll import apply, forward, initial
from service.rows import UNKNOWN
from service.state import Configuration, Labelled, plain, same
from tests.dll.networks import bits, configurations
from tests.dll.test_criteria import _Matmuls


def stream(configuration: Configuration, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, len(configuration.ranges))).astype(configuration.precision)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    labels = rng.integers(configuration.classes, size=count)
    labels[rng.random(count) < 0.3] = UNKNOWN
    return rows, labels


def learned(configuration, rows, labels, cuts):
    state = initial(configuration)
    for some, said in zip(np.split(rows, cuts), np.split(labels, cuts), strict=True):
        if (said != UNKNOWN).any():
            before = state
            state, reply = apply(state, Labelled(some, said))
            assert bits(reply.probabilities) == bits(forward(before, some))
            assert reply.learned.tolist() == (said != UNKNOWN).tolist()
    return state


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_however_rows_are_packed_the_state_is_bitwise_the_same(data):
    configuration = data.draw(configurations(rows_per_step=1))
    rows, labels = stream(configuration, 40, data.draw(st.integers(0, 1000)))
    one_by_one = learned(configuration, rows, labels, range(1, 40))
    cuts = sorted(data.draw(st.sets(st.integers(1, 39), max_size=12)))
    packed = learned(configuration, rows, labels, cuts)
    assert packed.steps == one_by_one.steps == int((labels != UNKNOWN).sum())
    assert same(packed._replace(seq=one_by_one.seq), one_by_one)


@pytest.mark.parametrize("per", [1, 3, 100])
def test_a_step_takes_so_many_rows_in_their_order(per):
    configuration = plain(((-1.0, 1.0),) * 3, 3, (5,), rows_per_step=per)
    rows, labels = stream(configuration, 20, 1)
    known = labels != UNKNOWN
    after, _ = apply(initial(configuration), Labelled(rows, labels))
    whole = initial(configuration)
    for start in range(0, int(known.sum()), per):
        some = rows[known][start : start + per], labels[known][start : start + per]
        whole, _ = apply(whole, Labelled(*some))
    assert after.steps == -(-int(known.sum()) // per)
    assert same(after._replace(seq=whole.seq), whole)


@pytest.mark.parametrize(
    ("labels", "passes"), [([1], 1), ([1, 0, 2], 4), ([1, UNKNOWN, UNKNOWN], 2), ([UNKNOWN, 2], 2)]
)
def test_a_pass_for_the_reply_and_one_for_each_step_that_needs_its_own(labels, passes):
    configuration = plain(((-1.0, 1.0),) * 3, 3, (5, 4), rows_per_step=1)
    state = initial(configuration)
    rows = np.zeros((len(labels), 3), np.float32)
    with _Matmuls(state.synapses.weights) as counter:
        apply(state, Labelled(rows, np.array(labels)))
    # Of the weights at the start: the reply's pass, and the first step's if it needs another one.
    assert counter.counts == [min(passes, 2)] * 3


def test_no_rows_per_step_is_the_whole_request_at_once_as_it_was():
    given = ((-1.0, 1.0),) * 3, 3, (5,)
    rows, labels = stream(plain(*given), 30, 2)
    after, _ = apply(initial(plain(*given)), Labelled(rows, labels))
    assert after.steps == 1
    other, _ = apply(initial(plain(*given, rows_per_step=1)), Labelled(rows, labels))
    assert other.steps == int((labels != UNKNOWN).sum())
