"""With Θ tied to W the update must be what torch.autograd says, to 1e-10 in float64."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, leaky_relu, relu

from service.dll import apply, initial
from service.dll.member import gradients
from service.dll.network import Ensemble, activate, encode
from service.dll.optimiser import adam
from service.dll.rule import local_errors
from service.dll.standardise import scale, standardise
from tests.dll.networks import active, configurations, lessons, with_synapses

plain = {
    "dtype": "float64",
    "optimiser": "sgd",
    "feedback_rule": "fixed",
    "step_size": 1.0,
    "max_update": 1e30,
}


def tied_to_weights(state):
    """W of what comes from hidden neurons: skip connections feed nothing back."""
    hidden = state.configuration.networks[0].hidden
    return tuple(w[:, :n] for w, n in zip(state.synapses.weights[1:], hidden, strict=True))


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_tied_update_is_the_negative_gradient_of_cross_entropy(data: st.DataObject):
    configuration = data.draw(configurations(**plain))
    lesson = data.draw(lessons(configuration))
    state = initial(configuration)
    tied = with_synapses(state, feedback=tied_to_weights(state))
    learned, _ = apply(tied, lesson)

    ensemble, network = Ensemble.of(tied), configuration.networks[0]
    synapses = ensemble.members[0].synapses
    parameters = [p.clone().requires_grad_() for p in (*synapses.weights, *synapses.biases)]
    layers = len(tied.synapses.weights)
    readings, labels = torch.tensor(lesson.rows), torch.tensor(lesson.labels)
    rows = standardise(readings, scale(ensemble.moments, configuration.ranges, torch.float64))
    x = inputs = encode(network, rows[:, :0][labels != -1], rows[labels != -1])
    phi = {"tanh": torch.tanh, "relu": relu, "leaky_relu": leaky_relu}[network.activation]
    for layer in range(layers):
        if network.skip and 0 < layer == layers - 1:
            x = torch.cat([x, inputs], 1)
        x = x @ parameters[layer].T + parameters[layers + layer]
        if layer < layers - 1:
            x = phi(x)
    cross_entropy(x, labels[labels != -1]).backward()

    after = (*learned.synapses.weights, *learned.synapses.biases)
    before = (*tied.synapses.weights, *tied.synapses.biases)
    for now, then, parameter in zip(after, before, parameters, strict=True):
        torch.testing.assert_close(torch.tensor(now - then), -parameter.grad, rtol=0, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_tied_update_is_the_negative_gradient_of_squared_error(data: st.DataObject):
    configuration = data.draw(configurations(**plain))
    lesson = data.draw(lessons(configuration))
    state = initial(configuration)
    member, activity = active(state, lesson.rows)
    network = configuration.networks[0]
    target = torch.randn(activity.potentials[-1].shape, dtype=torch.float64)
    tied = tuple(torch.tensor(w) for w in tied_to_weights(state))
    output = target - activity.potentials[-1]
    errors = local_errors(activity, tied, output, network.activation)
    raw = gradients(activity, errors)

    weights = tuple(w.clone().requires_grad_() for w in member.synapses.weights)
    biases = tuple(b.clone().requires_grad_() for b in member.synapses.biases)
    copy = member.synapses._replace(weights=weights, biases=biases)
    y = activate(network, copy, activity.inputs[0])
    (0.5 * (target - y.potentials[-1]).square().sum(1)).mean().backward()
    for g, weight, bias in zip(raw, weights, biases, strict=True):
        torch.testing.assert_close(g.weight, -weight.grad, rtol=0, atol=1e-10)
        torch.testing.assert_close(g.bias, -bias.grad, rtol=0, atol=1e-10)


def test_adam_is_torchs_adam():
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    theirs = value.clone().requires_grad_()
    reference = torch.optim.Adam([theirs], lr=3e-3)
    first = second = torch.zeros_like(value)
    for step in range(1, 40):
        gradient = torch.randn(4, 3, generator=generator, dtype=torch.float64)
        theirs.grad = -gradient
        reference.step()
        update, first, second = adam(gradient, first, second, step, 3e-3)
        value = value + update
        torch.testing.assert_close(value, theirs.detach(), rtol=0, atol=1e-12)
