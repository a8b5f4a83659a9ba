"""Several networks and what mixes them: one state, one reply, however the rows were packed."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from service.dll import apply, forward, initial
from service.dll.mixture import evidence, learned, mixed
from service.dll.network import Reservoir
from service.dll.rehearsal import kept, rehearsed
from service.rows import UNKNOWN
from service.state import Configuration, Labelled, arrays, leaves, plain, same, with_leaves
from service.state.draws import FACTOR, PRIME, SHIFT, drawn
from service.state.file import from_bytes, to_bytes
from service.state.network import members
from tests.dll.networks import bits, ensembles, lessons, taught
from tests.dll.test_rows_per_step import learned as learned_in_cuts
from tests.dll.test_rows_per_step import stream


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_however_rows_are_packed_the_state_is_bitwise_the_same(data):
    configuration = data.draw(ensembles())
    x, y = stream(configuration, 30, data.draw(st.integers(0, 1000)))
    one_by_one = learned_in_cuts(configuration, x, y, range(1, 30))
    cuts = sorted(data.draw(st.sets(st.integers(1, 29), max_size=8)))
    packed = learned_in_cuts(configuration, x, y, cuts)
    assert same(packed._replace(seq=one_by_one.seq), one_by_one)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_state_comes_back_from_its_bytes_bitwise_and_learns_on_alike(data):
    configuration = data.draw(ensembles())
    state = taught(configuration)
    again = from_bytes(to_bytes(state))
    assert same(state, again)
    lesson = data.draw(lessons(configuration))
    assert same(apply(state, lesson)[0], apply(again, lesson)[0])


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_reply_is_the_mixture_of_its_members_and_that_of_the_rows_without_labels(data):
    configuration = data.draw(ensembles())
    state = taught(configuration)
    lesson = data.draw(lessons(configuration))
    _, reply = apply(state, lesson)
    assert bits(reply.probabilities) == bits(forward(state, lesson.rows))
    assert reply.members.shape == (len(configuration.networks), *reply.probabilities.shape)
    if len(configuration.networks) > 1:
        logs = np.log(np.maximum(reply.members.astype(np.float64), 1e-4))
        summed = (state.mixture[:, None, None] * logs).sum(0)
        expected = np.exp(summed) / np.exp(summed).sum(1, keepdims=True)
        np.testing.assert_allclose(reply.probabilities, expected, atol=1e-5)


def test_each_member_learns_as_it_would_alone():
    names = ("gain", "sgd", "linear", "rehearsal")
    ranges = ((-1.0, 1.0),) * 3
    together = Configuration(ranges, 3, members(names, (5,), 4), seed=2)
    state = taught(together, steps=12)
    for index, network in enumerate(together.networks):
        alone = taught(Configuration(ranges, 3, (network,), seed=2), steps=12)
        mine, own = state.members[index], alone.members[0]
        for a, b in zip(mine.synapses.weights, own.synapses.weights, strict=True):
            assert bits(a) == bits(b)


def test_the_mixture_drops_a_member_that_harms_and_lets_it_come_back():
    weights = torch.tensor([0.5, 0.5])
    good = torch.tensor([[0.9, 0.1]])
    bad = torch.tensor([[0.01, 0.99]])
    target = torch.tensor([[1.0, 0.0]])
    for _ in range(200):
        said = evidence([good, bad])
        weights = learned(weights, said, target - mixed(weights, said))
    assert weights[1] == 0
    assert mixed(weights, evidence([good, bad]))[0, 0] > 0.9
    for _ in range(200):
        said = evidence([bad, good])
        weights = learned(weights, said, target - mixed(weights, said))
    assert weights[1] > weights[0]


def test_the_mixing_neuron_descends_on_its_own_log_loss():
    """∂(-log y_t)/∂v by autograd, times the rate."""
    generator = torch.Generator().manual_seed(0)
    said = [torch.softmax(torch.randn(6, 4, generator=generator), 1) for _ in range(3)]
    labels = torch.randint(4, (6,), generator=generator)
    v = torch.rand(3, generator=generator, requires_grad=True)
    y = mixed(v, evidence(said))
    torch.nn.functional.nll_loss(torch.log(y), labels).backward()
    target = torch.nn.functional.one_hot(labels, 4).float()
    after = learned(v.detach(), evidence(said), target - y.detach())
    torch.testing.assert_close((after - v.detach()) / 0.02, -v.grad, rtol=1e-4, atol=1e-5)


def test_the_draws_are_the_same_in_onnxruntime():
    """With nothing but Add, Mul and Mod on 64-bit integers."""
    node, constants, nodes, value = helper.make_node, {}, [], "zero"
    constants |= {"zero": 0, "prime": PRIME, "factor": FACTOR, "shift": SHIFT}
    for part in ("seed", "step", "k"):
        names = [f"{part}.{index}" for index in range(11)]
        nodes += [
            node("Mod", [part, "prime"], [names[0]]),
            node("Add", [value, names[0]], [names[1]]),
            node("Mod", [names[1], "prime"], [names[2]]),
            node("Mul", [names[2], "factor"], [names[3]]),
            node("Add", [names[3], "shift"], [names[4]]),
            node("Mod", [names[4], "prime"], [names[5]]),
            node("Mul", [names[5], names[5]], [names[6]]),
            node("Mod", [names[6], "prime"], [names[7]]),
            node("Mul", [names[7], names[7]], [names[8]]),
            node("Mod", [names[8], "prime"], [names[9]]),
            node("Mul", [names[9], names[5]], [names[10]]),
            node("Mod", [names[10], "prime"], [f"{part}.out"]),
        ]
        value = f"{part}.out"
    integer = TensorProto.INT64
    graph = helper.make_graph(
        nodes,
        "draw",
        [helper.make_tensor_value_info(part, integer, ["n"]) for part in ("seed", "step", "k")],
        [helper.make_tensor_value_info(value, integer, ["n"])],
        [helper.make_tensor(name, integer, [], [number]) for name, number in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(0)
    given = [
        rng.integers(-(2**63), 2**63, 500),
        rng.integers(0, 2**40, 500),
        rng.integers(0, 9, 500),
    ]
    (out,) = session.run(None, dict(zip(("seed", "step", "k"), given, strict=True)))
    assert out.tolist() == [drawn(*map(int, three)) for three in zip(*given, strict=True)]


def test_the_draws_are_uniform():
    found = np.array([drawn(7, step, k) % 10 for step in range(4000) for k in range(3)])
    counts = np.bincount(found, minlength=10)
    # Chi-squared of nine degrees of freedom: 27.9 at one in a thousand.
    assert ((counts - 1200) ** 2 / 1200).sum() < 27.9
    steps = np.array([drawn(7, step, 0) / PRIME for step in range(4000)])
    assert abs(np.corrcoef(steps[1:], steps[:-1])[0, 1]) < 0.06


def test_the_reservoir_is_a_uniform_sample_of_all_rows():
    size, rows = 50, 600
    held = np.zeros(rows)
    for seed in range(30):
        empty = Reservoir(
            torch.zeros(size, 1), torch.zeros(size, dtype=torch.int64), torch.zeros(1).long()
        )
        assert len(rehearsed(empty, seed, 8)) == 0
        x = torch.arange(rows, dtype=torch.float32).unsqueeze(1)
        full = kept(empty, seed, x, torch.arange(rows))
        assert int(full.seen) == rows
        assert len(set(full.labels.tolist())) == size
        assert torch.equal(full.rows[:, 0].long(), full.labels)
        held[full.labels.numpy()] += 1
        places = rehearsed(full, seed, 8)
        assert len(places) == 8
        assert int(places.max()) < size
    # Each tenth of the stream holds its share: 150 of 1,500 rows, give or take.
    assert np.abs(held.reshape(10, -1).sum(1) - 150).max() < 55


def test_rehearsal_leaves_second_moments_to_new_rows():
    ranges = ((-1.0, 1.0),) * 3
    gain, again = members(("gain",), (5,), 3), members(("rehearsal",), (5,), 3)
    x, y = stream(plain(ranges, 3), 1, 0)
    y[:] = 1
    one, _ = apply(initial(Configuration(ranges, 3, gain)), Labelled(x, y))
    other, _ = apply(initial(Configuration(ranges, 3, again)), Labelled(x, y))
    for a, b in zip(one.members[0].gains, other.members[0].gains, strict=True):
        assert bits(a[0]) == bits(b[0])
    assert int(other.reservoir.seen[0]) == 1
    assert other.reservoir.labels[0] == 1


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_labels_are_smoothed_and_rare_classes_weighted(smoothing):
    ranges = ((-1.0, 1.0),) * 2
    network = plain(ranges, 2, (), step_size=1.0).networks
    x = np.zeros((1, 2), np.float32)
    moved = []
    for weights in ((), (1.0, 5.0)):
        configuration = Configuration(
            ranges, 2, network, label_smoothing=smoothing, class_weights=weights
        )
        before = initial(configuration)
        after, _ = apply(before, Labelled(x, np.array([1])))
        moved.append(after.synapses.biases[0])
    np.testing.assert_allclose(moved[0], [smoothing / 2 - 0.5, 0.5 - smoothing / 2], atol=1e-6)
    np.testing.assert_allclose(moved[1], np.clip(moved[0] * 5, -1, 1), atol=1e-6)


def test_unlabelled_rows_of_an_ensemble_change_nothing():
    configuration = Configuration(((-1.0, 1.0),) * 3, 3, members(("gain", "linear"), (4,), 0))
    x, y = stream(configuration, 12, 3)
    y[::2] = UNKNOWN
    after, _ = apply(initial(configuration), Labelled(x, y))
    known = y != UNKNOWN
    only, _ = apply(initial(configuration), Labelled(x[known], y[known]))
    assert same(after, only)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_leaves_are_the_arrays_in_their_order(data):
    state = taught(data.draw(ensembles()))
    named = arrays(state)
    assert [id(leaf) for leaf in leaves(state)] == [id(array) for array in named.values()]
    assert same(with_leaves(state, list(named.values()), state.seq, state.steps), state)
