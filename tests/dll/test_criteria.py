"""The three criteria of Dendritic Localized Learning, each as a property that could fail."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from service.dll import apply, forward, initial
from service.dll.member import gradients
from service.dll.network import SLOPES
from service.dll.rule import gradient, local_errors
from service.state import Configuration, Labelled, plain
from tests.dll.networks import active, batch, bits, configurations, lessons, taught, with_synapses


def phi(configuration):
    return configuration.networks[0].activation


proof = settings(max_examples=60, deadline=None)


@proof
@given(st.data())
def test_c1_errors_do_not_change_when_every_forward_weight_is_overwritten(data: st.DataObject):
    configuration = data.draw(configurations())
    lesson = data.draw(lessons(configuration))
    state = taught(configuration)
    network, activity = active(state, lesson.rows)
    output = torch.randn(activity.potentials[-1].shape)
    before = local_errors(activity, network.synapses.feedback, output, phi(configuration))
    before = [bits(e) for e in before.errors]
    for weight in network.synapses.weights:
        weight.fill_(7.25)
    after = local_errors(activity, network.synapses.feedback, output, phi(configuration))
    assert [bits(e) for e in after.errors] == before


@proof
@given(configurations())
def test_c1_feedback_is_drawn_independently_of_the_forward_weights(configuration: Configuration):
    synapses = initial(configuration).synapses
    for weight, theta in zip(synapses.weights[1:], synapses.feedback, strict=True):
        # Skip connections feed nothing back, and begin at 0.
        below = theta.shape[1]
        assert not weight[:, below:].any()
        if theta.size > 1:
            scale = configuration.networks[0].feedback_scale
            assert not np.array_equal(weight[:, :below], theta / scale)
    wide = initial(plain(ranges=((-1.0, 1.0),), classes=64, hidden=(64,))).synapses
    correlation = np.corrcoef(wide.weights[1].ravel(), wide.feedback[0].ravel())[0, 1]
    # 4096 independent draws: a standard deviation of 1/64.
    assert abs(correlation) < 5 / 64


@proof
@given(st.data())
def test_c2_a_layers_update_depends_on_its_own_activities_alone(data: st.DataObject):
    configuration = data.draw(configurations())
    lesson = data.draw(lessons(configuration))
    state = taught(configuration)
    network, activity = active(state, lesson.rows)
    output = torch.randn(activity.potentials[-1].shape)
    errors = local_errors(activity, network.synapses.feedback, output, phi(configuration))
    layers = len(network.synapses.weights)
    raw = gradients(activity, errors)
    for layer in range(layers):
        held_x = activity.inputs[layer].clone()
        if layer == layers - 1:
            own = output.clone()
        else:
            x = activity.hidden[layer].clone()
            own = errors.apical[layer].clone() * SLOPES[phi(configuration)](x)
        # Everything that belongs to other layers is overwritten; what the layer holds is not.
        for other in range(layers):
            if other != layer:
                network.synapses.weights[other].fill_(3.5)
        for theta in network.synapses.feedback:
            theta.fill_(-2.5)
        again = gradient(own, held_x)
        assert bits(again.weight) == bits(raw[layer].weight)
        assert bits(again.bias) == bits(raw[layer].bias)


@proof
@given(st.data())
def test_c2_through_apply_other_layers_cannot_reach_the_last_layers_update(data: st.DataObject):
    configuration = data.draw(configurations(optimiser="sgd", feedback_rule="fixed"))
    lesson = data.draw(lessons(configuration))
    state = taught(configuration)
    garbled = with_synapses(
        state, feedback=tuple(np.full_like(t, 0.3) for t in state.synapses.feedback)
    )
    mine, _ = apply(state, lesson)
    other, _ = apply(garbled, lesson)
    assert bits(mine.synapses.weights[-1]) == bits(other.synapses.weights[-1])


class _Matmuls(TorchDispatchMode):
    """Counts the matrix products that read one of the given weights."""

    def __init__(self, weights):
        super().__init__()
        self.storages = {w.ctypes.data: index for index, w in enumerate(weights)}
        self.counts = [0] * len(weights)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (
            torch.ops.aten.addmm,
            torch.ops.aten.mm,
            torch.ops.aten.matmul,
            torch.ops.aten.bmm,
        ):
            for argument in args:
                if isinstance(argument, torch.Tensor):
                    index = self.storages.get(argument.untyped_storage().data_ptr())
                    if index is not None:
                        self.counts[index] += 1
        return func(*args, **(kwargs or {}))


@proof
@given(st.data())
def test_c3_one_forward_matmul_per_layer_per_labelled_request(data: st.DataObject):
    configuration = data.draw(configurations())
    lesson = data.draw(lessons(configuration))
    state = taught(configuration)
    with _Matmuls(state.synapses.weights) as counter:
        apply(state, lesson)
    assert counter.counts == [1] * len(state.synapses.weights)


@proof
@given(st.data())
def test_c3_the_reply_is_bitwise_that_of_the_same_rows_without_labels(data: st.DataObject):
    configuration = data.draw(configurations())
    lesson = data.draw(lessons(configuration))
    state = taught(configuration)
    _, reply = apply(state, lesson)
    assert bits(reply.probabilities) == bits(forward(state, lesson.rows))
    assert reply.learned.tolist() == (lesson.labels != -1).tolist()


def test_prediction_of_a_row_does_not_depend_on_which_rows_are_labelled():
    configuration = plain(ranges=((-1.0, 1.0),) * 3, classes=3, hidden=(5,))
    state = taught(configuration)
    lesson = batch(configuration, 8, torch.Generator().manual_seed(3))
    others = Labelled(lesson.rows, np.array([-1] * 7 + [2]))
    assert bits(apply(state, lesson)[1].probabilities) == bits(
        apply(state, others)[1].probabilities
    )
