"""How Θ moves under each rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from service.dll import apply, initial
from service.dll.rule import local_errors
from service.state import Configuration, Labelled, plain
from tests.dll.networks import active, batch, bits, taught


def configuration(rule: str, **more) -> Configuration:
    return plain(ranges=((-1.0, 1.0),) * 4, classes=3, hidden=(6, 5), feedback_rule=rule, **more)


def test_fixed_feedback_never_moves():
    state = taught(configuration("fixed"), steps=20)
    for mine, born in zip(
        state.synapses.feedback, initial(configuration("fixed")).synapses.feedback, strict=True
    ):
        assert bits(mine) == bits(born)


@pytest.mark.parametrize(("rule", "sign"), [("hebbian", 1.0), ("energy", -1.0)])
def test_hebbian_and_energy_move_feedback_by_error_times_apical_potential(rule, sign):
    c = configuration(rule, step_size=0.1, feedback_step=0.5)
    state = taught(c)
    rows = torch.randn(7, 4).numpy()
    labels = np.array([0, 1, 2, 0, 1, 2, 0])
    network, activity = active(state, rows)
    target = torch.nn.functional.one_hot(torch.tensor(labels), 3).float()
    output = target - torch.softmax(activity.potentials[-1], 1)
    errors = local_errors(activity, network.synapses.feedback, output)
    learned, _ = apply(state, Labelled(rows, labels))
    for position, (after, before) in enumerate(
        zip(learned.synapses.feedback, state.synapses.feedback, strict=True)
    ):
        product = errors.errors[position + 1].T @ errors.apical[position] / 7
        np.testing.assert_allclose(after - before, sign * 0.05 * product, rtol=1e-4, atol=1e-6)


def test_energy_shrinks_the_local_error_energy():
    c = configuration("energy", step_size=0.5, feedback_step=1.0)
    state = taught(c)
    norms = [float(np.linalg.norm(state.synapses.feedback[-1]))]
    generator = torch.Generator().manual_seed(5)
    for _ in range(60):
        state, _ = apply(state, batch(c, 16, generator))
        norms.append(float(np.linalg.norm(state.synapses.feedback[-1])))
    assert norms[-1] < norms[0]


def test_kolen_pollack_aligns_feedback_with_forward_weights_without_copying_them():
    c = configuration("kolen_pollack", step_size=0.2, decay=0.5)

    def cosines(state):
        return [
            float(np.vdot(w, t) / np.linalg.norm(w) / np.linalg.norm(t))
            for w, t in zip(state.synapses.weights[1:], state.synapses.feedback, strict=True)
        ]

    state = initial(c)
    assert max(cosines(state)) < 0.7
    generator = torch.Generator().manual_seed(5)
    for _ in range(400):
        state, _ = apply(state, batch(c, 16, generator))
    assert min(cosines(state)) > 0.99


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_no_element_of_an_update_exceeds_the_clamp(optimiser):
    c = configuration("hebbian", optimiser=optimiser, step_size=5.0, max_update=0.01)
    state = taught(c)
    learned, _ = apply(state, batch(c, 8, torch.Generator().manual_seed(9)))
    groups = zip(
        (*learned.synapses.weights, *learned.synapses.biases, *learned.synapses.feedback),
        (*state.synapses.weights, *state.synapses.biases, *state.synapses.feedback),
        strict=True,
    )
    moves = [float(np.abs(after - before).max()) for after, before in groups]
    assert max(moves) <= 0.01 + 1e-6
    assert max(moves) > 0.0099


def test_repeating_a_batch_does_not_change_the_size_of_its_step():
    c = configuration("fixed")
    state = taught(c)
    rows, labels = torch.randn(3, 4).numpy(), np.array([0, 1, 2])
    once, _ = apply(state, Labelled(rows, labels))
    thrice, _ = apply(state, Labelled(np.tile(rows, (3, 1)), np.tile(labels, 3)))
    for a, b in zip(once.synapses.weights, thrice.synapses.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
