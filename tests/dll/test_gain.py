"""The presynaptic gain: what it is, that it stays sound, and that it is local to its layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.dll import apply, initial
from service.dll.gain import gained, held
from service.dll.member import stepped
from service.state import Configuration, Labelled, plain
from service.state.network import FORGETTING, Network, members
from service.state.state import BIRTH_GAIN
from tests.dll.networks import active, batch, bits, taught

FLOOR = 1e-7


def eye(n: int, dtype=torch.float64):
    return torch.eye(n, dtype=dtype) * BIRTH_GAIN


def rows(count: int, n: int, seed: int = 0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, n, generator=generator, dtype=dtype)


def test_it_is_recursive_least_squares():
    """Against the textbook, with the matrix inverse it avoids: P⁻¹ ← λ P⁻¹ + v vᵀ."""
    p, inverse = eye(5), torch.linalg.inv(eye(5))
    for v in rows(30, 4):
        one = torch.cat([v, torch.ones(1, dtype=torch.float64)])
        before = p
        found = gained((p,), v[None], FLOOR)
        (p,) = found.blocks
        inverse = FORGETTING * inverse + torch.outer(one, one)
        expected = torch.linalg.inv(inverse) + FLOOR * torch.eye(5, dtype=torch.float64)
        # The trace bound acts on both alike.
        f = min(1.0, BIRTH_GAIN * 5 / float(expected.trace()))
        torch.testing.assert_close(p, expected * f, rtol=1e-9, atol=1e-12)
        inverse = torch.linalg.inv(p)
        k = before @ one
        torch.testing.assert_close(found.gain[0], k / (FORGETTING + one @ k), rtol=1e-12, atol=0)


def test_rows_at_once_are_the_block_form():
    p, v = eye(5), rows(7, 4)
    ext = torch.cat([v, torch.ones(7, 1, dtype=torch.float64)], 1)
    k = ext @ p
    g = torch.linalg.solve(FORGETTING * torch.eye(7, dtype=torch.float64) + ext @ k.T, k)
    found = gained((p,), v, FLOOR)
    torch.testing.assert_close(found.gain, g, rtol=1e-10, atol=1e-12)
    expected = (p - k.T @ g) / FORGETTING + FLOOR * torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(found.blocks[0], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sensors", [3, 7, 13])
def test_p_stays_exactly_symmetric_and_positive(sensors):
    """Constant, doubled and slow sensors included; in float32, as it runs."""
    configuration = Configuration(((-2.0, 2.0),) * sensors, 2, members(("gain",), (5,), 0))
    state, rng = initial(configuration), np.random.default_rng(0)
    x = rng.normal(size=(1500, sensors)).astype(np.float32)
    x[:, 0], x[:, 1] = 1.0, x[:, 2]
    for row in x:
        state, _ = apply(state, Labelled(row[None], np.array([int(row[-1] > 0)])))
    for (p,) in state.members[0].gains:
        assert np.array_equal(p, p.T)
        assert np.linalg.eigvalsh(p.astype(np.float64)).min() > 0
        assert np.trace(p) <= BIRTH_GAIN * len(p) * 1.0001


def test_from_many_inputs_on_each_sensor_has_a_block_of_its_own():
    network = Network(optimiser="gain", population_code=True, skip=True, hidden=(5,))
    assert network.gain_shapes(3, 2) == (((19, 19),), ((24, 24),))
    many = Network(optimiser="gain", population_code=True, skip=True, hidden=(5,), dense_inputs=18)
    assert many.gain_shapes(3, 2) == (((3, 6, 6), (1, 1)), ((3, 6, 6), (6, 6)))


@pytest.mark.parametrize("count", [1, 4])
def test_blocks_are_the_whole_with_what_is_between_them_left_out(count):
    """One step from a P that is block diagonal: the same gain, and the same blocks after it."""
    v = rows(count, 2 + 2 * 3)
    sensors, rest = eye(3).expand(2, 3, 3).contiguous(), eye(3)
    found = gained((sensors, rest), v, FLOOR)
    whole = gained((eye(9),), v, FLOOR)
    torch.testing.assert_close(found.gain, whole.gain, rtol=1e-10, atol=1e-12)
    p = whole.blocks[0]
    torch.testing.assert_close(found.blocks[0][0], p[2:5, 2:5], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.blocks[0][1], p[5:8, 5:8], rtol=1e-10, atol=1e-12)
    kept = [0, 1, 8]
    torch.testing.assert_close(found.blocks[1], p[kept][:, kept], rtol=1e-10, atol=1e-12)


def test_rehearsed_rows_have_the_gain_of_each_by_itself_and_leave_p_alone():
    p, v = eye(5), rows(6, 4)
    before = p.clone()
    together = held((p,), v)
    for index in range(6):
        alone = gained((p,), v[index : index + 1], FLOOR).gain[0]
        torch.testing.assert_close(together[index], alone, rtol=1e-12, atol=1e-14)
    assert torch.equal(p, before)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000))
def test_c2_a_layers_update_depends_on_its_own_activities_and_second_moment_alone(seed):
    configuration = plain(
        ((-1.0, 1.0),) * 3, 3, (5, 4), optimiser="gain", activation="relu", skip=True, seed=seed
    )
    state = taught(configuration)
    lesson = batch(configuration, 1, torch.Generator().manual_seed(seed))
    member, activity = active(state, lesson.rows)
    (network,) = configuration.networks
    output = rows(1, 3, seed, torch.float32)
    mine = stepped(network, member, 1.0, 1, activity, output)
    # The last layer: whatever the others are, its own update is the same.
    synapses = member.synapses
    others = member._replace(
        synapses=synapses._replace(
            weights=(
                *(torch.full_like(w, 3.5) for w in synapses.weights[:-1]),
                synapses.weights[-1],
            ),
            feedback=tuple(torch.full_like(t, -2.5) for t in synapses.feedback),
        ),
        gains=(*(tuple(b * 2 for b in bs) for bs in member.gains[:-1]), member.gains[-1]),
    )
    theirs = stepped(network, others, 1.0, 1, activity, output)
    assert bits(theirs.synapses.weights[-1]) == bits(mine.synapses.weights[-1])
    assert bits(theirs.gains[-1][0]) == bits(mine.gains[-1][0])
    # A hidden layer: the weights and second moments of the others are none of its business.
    others = member._replace(
        synapses=synapses._replace(
            weights=(synapses.weights[0], *(torch.full_like(w, 3.5) for w in synapses.weights[1:]))
        ),
        gains=(member.gains[0], *(tuple(b * 2 for b in bs) for bs in member.gains[1:])),
    )
    theirs = stepped(network, others, 1.0, 1, activity, output)
    assert bits(theirs.synapses.weights[0]) == bits(mine.synapses.weights[0])
