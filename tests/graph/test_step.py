"""The learning step as an ONNX graph, held against the rule in torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.graph.step import CannotStep, step_graph
from service.kernels.by_state import KernelByState
from service.kernels.onnx import OnnxKernel
from service.kernels.torch import TorchKernel
from service.rows import UNKNOWN
from service.state import Configuration, Freeze, Labelled, UseKernel, arrays, plain, same
from service.state.network import members
from tests.dll.networks import batch, bits, configurations, ensembles, lessons, taught

TORCH = TorchKernel()
ONNX = OnnxKernel(TORCH)


def apart(a, b):
    """Largest difference of two states, relative to each tensor's size."""
    mine, theirs = arrays(a), arrays(b)
    assert mine.keys() == theirs.keys()
    return max(
        float(np.abs(mine[k] - theirs[k]).max() / max(1.0, np.abs(theirs[k]).max()))
        for k in mine
        if mine[k].size and k != "reservoir.rows"
    )


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_one_step_is_torchs(data):
    """In double precision: what is left is the order of additions."""
    configuration = data.draw(configurations(dtype="float64"))
    state, lesson = taught(configuration), data.draw(lessons(configuration))
    mine, said = ONNX.apply(state, lesson)
    theirs, expected = TORCH.apply(state, lesson)
    assert apart(mine, theirs) < 1e-10
    np.testing.assert_allclose(said.probabilities, expected.probabilities, atol=1e-12)
    assert said.learned.tolist() == expected.learned.tolist()
    assert (mine.seq, mine.steps) == (theirs.seq, theirs.steps)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_one_step_of_an_ensemble_is_torchs(data):
    configuration = data.draw(ensembles(dtype="float64"))
    state, lesson = taught(configuration), data.draw(lessons(configuration))
    mine, said = ONNX.apply(state, lesson)
    theirs, expected = TORCH.apply(state, lesson)
    assert apart(mine, theirs) < 1e-10
    np.testing.assert_allclose(said.members, expected.members, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_reply_is_bitwise_that_of_the_rows_without_labels(data):
    configuration = data.draw(st.one_of(configurations(rows_per_step=1), ensembles()))
    state, lesson = taught(configuration), data.draw(lessons(configuration))
    _, said = ONNX.apply(state, lesson)
    assert bits(said.probabilities) == bits(ONNX.forward(state, lesson.rows))
    one = Labelled(lesson.rows[:1], lesson.labels[:1])
    assert bits(ONNX.apply(state, one)[1].probabilities) == bits(ONNX.forward(state, one.rows))


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_however_rows_are_packed_the_state_is_bitwise_the_same(data):
    configuration = data.draw(st.one_of(configurations(rows_per_step=1), ensembles()))
    lesson = batch(configuration, 24, torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    state = ONNX.initial(configuration)
    packed, _ = ONNX.apply(state, lesson)
    single = state
    for row, label in zip(lesson.rows, lesson.labels, strict=True):
        if label != UNKNOWN:
            single, _ = ONNX.apply(single, Labelled(row[None], np.array([label])))
    assert same(packed._replace(seq=single.seq), single)


@pytest.mark.parametrize("names", [("gain",), ("gain", "sgd", "linear")])
def test_over_many_steps_predictions_stay_the_same(names):
    """A potential within rounding of 0 lies on either side of a rectifier's bend, after which two
    kernels go ways of their own for a while: one of the seeds may."""
    configuration = Configuration(((-2.0, 2.0),) * 6, 3, members(names, (16,), 1))
    agreed, apart = 0, []
    for seed in range(3):
        mine = theirs = ONNX.initial(configuration)
        rng, furthest = np.random.default_rng(seed), 0.0
        for _ in range(800):
            row = rng.normal(size=(1, 6)).astype(np.float32)
            lesson = Labelled(row, np.array([int(row[0, 0] > 0) + int(row[0, 1] * row[0, 2] > 0)]))
            mine, said = ONNX.apply(mine, lesson)
            theirs, expected = TORCH.apply(theirs, lesson)
            agreed += said.probabilities.argmax() == expected.probabilities.argmax()
            difference = np.abs(said.probabilities - expected.probabilities).max()
            furthest = max(furthest, float(difference))
        apart.append(furthest)
    assert agreed >= 2397
    assert sorted(apart)[1] < 1e-3
    assert max(apart) < 0.1


def test_second_moments_stay_exactly_symmetric():
    configuration = Configuration(((-2.0, 2.0),) * 7, 2, members(("gain",), (5,), 0))
    state, rng = ONNX.initial(configuration), np.random.default_rng(0)
    for row in rng.normal(size=(1000, 7)).astype(np.float32):
        state, _ = ONNX.apply(state, Labelled(row[None], np.array([int(row[0] > 0)])))
    for (p,) in state.members[0].gains:
        assert np.array_equal(p, p.T)
        assert np.linalg.eigvalsh(p.astype(np.float64)).min() > 0


def test_the_graph_is_small_plain_and_reads_each_weight_once_forwards():
    """C1 and C3 on the graph itself: only the forward pass multiplies by W, once a layer; what
    goes backwards multiplies by Θ."""
    configuration = Configuration(
        ((-2.0, 2.0),) * 9, 3, members(("gain", "sgd", "linear"), (64,), 0)
    )
    model = onnx.load_from_string(step_graph(ONNX.initial(configuration)))
    assert {node.domain for node in model.graph.node} == {""}
    assert len(model.graph.node) < 300
    for name in arrays(ONNX.initial(configuration)):
        products = [
            node.op_type
            for node in model.graph.node
            if name in node.input and node.op_type in ("Gemm", "MatMul")
        ]
        if "weight" in name:
            assert products == ["Gemm"], name
        if "feedback" in name:
            assert products == ["MatMul"], name
    assert not [node for node in model.graph.node if node.op_type.startswith("Random")]


def test_what_the_graph_cannot_do_torch_does():
    ranges = ((-1.0, 1.0),) * 3
    for configuration, why in (
        (plain(ranges, 2, rehearsed=2, rows_per_step=0), "expected 1 under rehearsal, found 0"),
        (plain(ranges, 2, optimiser="gain", rows_per_step=4), "expected 1 under a gain, found 4"),
    ):
        state = taught(configuration)
        lesson = batch(configuration, 8, torch.Generator().manual_seed(0))
        assert same(ONNX.apply(state, lesson)[0], TORCH.apply(state, lesson)[0])
        with pytest.raises(CannotStep, match=why):
            step_graph(ONNX.initial(configuration))


@pytest.mark.parametrize("rule", ["fixed", "hebbian", "energy", "kolen_pollack"])
@pytest.mark.parametrize("optimiser", ["sgd", "gain"])
@pytest.mark.parametrize("dense", [4, 448])
def test_what_is_rehearsed_is_drawn_and_learned_as_torch_does(rule, optimiser, dense):
    """From an empty reservoir on until rows in it have been replaced many times."""
    configuration = plain(
        ((-1.0, 1.0),) * 3,
        3,
        (5, 4),
        rows_per_step=1,
        dtype="float64",
        step_size=0.5,
        optimiser=optimiser,
        feedback_rule=rule,
        population_code=True,
        skip=True,
        dense_inputs=dense,
        rehearsed=3,
    )
    configuration = replace(configuration, reservoir=7, seed=2**40 + 3)
    mine = theirs = ONNX.initial(configuration)
    generator = torch.Generator().manual_seed(3)
    for _ in range(12):
        lesson = batch(configuration, 6, generator)
        mine, said = ONNX.apply(mine, lesson)
        theirs, expected = TORCH.apply(theirs, lesson)
        np.testing.assert_allclose(said.probabilities, expected.probabilities, atol=1e-10)
        assert apart(mine, theirs) < 1e-9
        ours, others = mine.reservoir, theirs.reservoir
        assert [bits(a) for a in ours] == [bits(b) for b in others]
    assert int(mine.reservoir.seen[0]) > 3 * 7


def test_a_state_is_run_by_the_kernel_that_it_names():
    kernel = KernelByState()
    configuration = Configuration(((-1.0, 1.0),) * 3, 2, members(("gain", "linear"), (4,), 0))
    lesson = batch(configuration, 6, torch.Generator().manual_seed(2))
    state = kernel.initial(configuration)
    assert same(kernel.apply(state, lesson)[0], TORCH.apply(state, lesson)[0])
    changed, _ = kernel.apply(state, UseKernel("onnx"))
    assert (changed.kernel, changed.seq) == ("onnx", 1)
    assert same(kernel.apply(changed, lesson)[0], ONNX.apply(changed, lesson)[0])
    frozen, _ = kernel.apply(changed, Freeze())
    after, reply = kernel.apply(frozen, lesson)
    assert not reply.learned.any()
    assert same(after._replace(seq=frozen.seq), frozen)
    with pytest.raises(ValueError, match="kernel: expected one of torch, onnx, found 'cuda'"):
        kernel.forward(state._replace(kernel="cuda"), lesson.rows)


def test_a_second_moment_that_lost_its_positivity_begins_anew_in_both_kernels():
    configuration = Configuration(((-2.0, 2.0),) * 3, 2, members(("gain",), (4,), 0))
    state = ONNX.initial(configuration)
    (member,) = state.members
    broken = tuple((-blocks[0],) for blocks in member.gains)
    bad = state._replace(members=(member._replace(gains=broken),))
    lesson = Labelled(np.float32([[0.5, -1.0, 1.5]]), np.array([1]))
    for kernel in (ONNX, TORCH):
        mended, _ = kernel.apply(bad, lesson)
        sound, _ = kernel.apply(state, lesson)
        assert apart(mended, sound) < 1e-6
