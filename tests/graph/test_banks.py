"""Steps write into memory that is used again: never into what a state still has."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.kernels.banks import MOST, MOST_STILL, Banks
from service.kernels.onnx import OnnxKernel
from service.kernels.torch import TorchKernel
from service.state import Configuration, Labelled, Replace, arrays, plain, same
from service.state.network import members
from service.state.state import mapped
from tests.dll.networks import bits, configurations, ensembles, lessons, taught

RANGES = ((-2.0, 2.0),) * 5
CONFIGURATIONS = {
    "plain": plain(RANGES, 3, (6, 4), rows_per_step=1),
    "all rows in one step": plain(RANGES, 3, (6,), rows_per_step=0),
    "ensemble": Configuration(RANGES, 3, members(("gain", "sgd", "linear"), (6,), 0)),
}


@pytest.fixture
def kernel():
    return OnnxKernel(TorchKernel())


@pytest.fixture
def copying(monkeypatch):
    """The same kernel without a bank."""
    found = OnnxKernel(TorchKernel())
    found._banks_of = lambda graphs: NoBanks()
    return found


class NoBanks:
    def walk(self, tensors, *given):
        return None, tensors, 0


def lesson(rng, rows=1):
    x = rng.normal(size=(rows, 5)).astype(np.float32)
    return Labelled(x, rng.integers(0, 3, rows))


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_no_state_that_somebody_holds_is_written_to(name, kernel, copying):
    rng = np.random.default_rng(0)
    mine = theirs = kernel.initial(CONFIGURATIONS[name])
    held, expected = [], []
    for k in range(3 * MOST):
        event = lesson(rng, 1 + k % 4)
        mine, said = kernel.apply(mine, event)
        theirs, told = copying.apply(theirs, event)
        assert bits(said.probabilities) == bits(told.probabilities)
        assert bits(said.members) == bits(told.members)
        # Every third state is kept, until there is no bank left.
        if k % 3 == 0:
            held.append(mine)
            expected.append(theirs)
    assert all(same(a, b) for a, b in zip(held, expected, strict=True))
    assert same(mine, theirs)


def test_one_tensor_that_is_held_keeps_its_bank(kernel):
    rng = np.random.default_rng(0)
    state, _ = kernel.apply(kernel.initial(CONFIGURATIONS["plain"]), lesson(rng))
    corner = state.members[0].synapses.weights[0][1:, :2]
    before = corner.copy()
    for _ in range(4 * MOST):
        state, _ = kernel.apply(state, lesson(rng))
    assert bits(corner) == bits(before)


def test_what_no_step_moves_goes_along_as_it_is_and_is_no_other_learners(kernel, copying):
    def otherwise(name, array):
        return array * np.float32(2) if name.startswith("feedback") else array

    rng, born = np.random.default_rng(0), kernel.initial(CONFIGURATIONS["plain"])
    theta = born.members[0].synapses.feedback
    mine = [born, *(mapped(born, otherwise) for _ in range(2 * MOST_STILL))]
    theirs = list(mine)
    for _ in range(4):
        event = lesson(rng, 2)
        mine = [kernel.apply(state, event)[0] for state in mine]
        theirs = [copying.apply(state, event)[0] for state in theirs]
        assert all(same(a, b) for a, b in zip(mine, theirs, strict=True))
    assert all(a is b for a, b in zip(mine[0].members[0].synapses.feedback, theta, strict=True))
    assert not same(mine[0]._replace(members=mine[1].members), mine[0])


def test_memory_is_used_again(kernel):
    rng, places = np.random.default_rng(0), set()
    state = kernel.initial(CONFIGURATIONS["plain"])
    for _ in range(50):
        state, _ = kernel.apply(state, lesson(rng))
        places.add(state.members[0].synapses.weights[0].__array_interface__["data"][0])
    assert len(places) <= 3


def test_a_state_of_parts_from_elsewhere_is_copied_not_mistaken(kernel, copying):
    rng = np.random.default_rng(0)
    first, _ = kernel.apply(kernel.initial(CONFIGURATIONS["ensemble"]), lesson(rng))
    second, _ = kernel.apply(first, lesson(rng))
    mixed = second._replace(mixture=first.mixture)
    event = lesson(rng)
    assert same(kernel.apply(mixed, event)[0], copying.apply(mixed, event)[0])
    replaced, _ = kernel.apply(second, Replace(first))
    assert same(kernel.apply(replaced, event)[0], copying.apply(replaced, event)[0])


def test_what_learns_in_between_does_not_touch_what_is_under_way(kernel, copying):
    """A long event gives way: others learn with the same graph in the middle of it."""
    rng = np.random.default_rng(0)
    other = kernel.initial(CONFIGURATIONS["plain"])
    start, long, short = other, lesson(rng, 30), [lesson(rng) for _ in range(29)]
    waiting = list(short)

    def between():
        nonlocal other
        other, _ = kernel.apply(other, waiting.pop())

    after, _ = kernel.apply(start, long, between)
    assert same(after, copying.apply(start, long)[0])
    expected = start
    for event in reversed(short):
        expected, _ = copying.apply(expected, event)
    assert same(other, expected)


def test_threads_have_banks_of_their_own(kernel, copying):
    start = kernel.initial(CONFIGURATIONS["ensemble"])
    found = {}

    def learn(seed):
        rng, state = np.random.default_rng(seed), start
        for _ in range(150):
            state, _ = kernel.apply(state, lesson(rng))
        found[seed] = state

    threads = [threading.Thread(target=learn, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, state in found.items():
        rng, expected = np.random.default_rng(seed), start
        for _ in range(150):
            expected, _ = copying.apply(expected, lesson(rng))
        assert same(state, expected)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_by_banks_or_by_copies_is_bitwise_the_same(data):
    configuration = data.draw(st.one_of(configurations(), ensembles()))
    state, event = taught(configuration), data.draw(lessons(configuration))
    kernel, copying = OnnxKernel(TorchKernel()), OnnxKernel(TorchKernel())
    copying._banks_of = lambda graphs: NoBanks()
    mine, theirs = kernel.apply(state, event), copying.apply(state, event)
    assert same(mine[0], theirs[0])
    assert bits(mine[1].probabilities) == bits(theirs[1].probabilities)


def test_more_states_than_banks_are_learned_by_copies(kernel):
    rng = np.random.default_rng(0)
    states = [kernel.initial(CONFIGURATIONS["plain"]) for _ in range(2 * MOST)]
    for _ in range(3):
        states = [kernel.apply(state, lesson(rng))[0] for state in states]
    assert len({bits(arrays(state)["weight.1"]) for state in states}) == 2 * MOST
    (banks,) = [b for _, b in kernel._local.banks.values()]
    assert isinstance(banks, Banks)
    assert len(banks._banks) == MOST
    del states
    gc.collect()
    assert all(bank.free for bank in banks._banks)
