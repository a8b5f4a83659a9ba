"""What a line teaches does not depend on how it packs its rows; files of before keep their
meaning."""

from __future__ import annotations

import numpy as np
import pytest

from service.errors import ConfigurationError
from service.state import same
from tests.durability.aftermath import MODEL, learning
from tests.line import hand_in, posted, readings, submit
from tests.serving import press

N = 36


def taught(folder, per_request):
    rows = readings(3, N)
    labels = np.random.default_rng(5).integers(-1, 2, N)
    labels[::per_request] = 1
    with learning(press(folder)) as learner:
        for start in range(0, N, per_request):
            some, said = rows[start : start + per_request], labels[start : start + per_request]
            submit(learner, posted(some, said, None))
        return learner.models[MODEL].published, learner.models[MODEL].prequential.summary()


def one_by_one(folder, like):
    rows = readings(3, N)
    labels = np.random.default_rng(5).integers(-1, 2, N)
    labels[::like] = 1
    with learning(press(folder)) as learner:
        for row, label in zip(rows, labels, strict=True):
            if label >= 0:
                submit(learner, posted(row[None], label[None], None))
        return learner.models[MODEL].published


@pytest.mark.parametrize("per_request", [4, 12, 36])
def test_the_state_is_the_same_however_rows_were_packed(tmp_path, per_request):
    packed, _ = taught(tmp_path / "packed", per_request)
    single = one_by_one(tmp_path / "single", per_request)
    assert packed.steps == single.steps > N / 2
    assert same(packed._replace(seq=single.seq), single)


def test_a_key_that_the_file_does_not_name_is_as_it_was_stored(tmp_path):
    """Another default must not make another network of a running one."""
    with learning(press(tmp_path, model="rows_per_step = 0\ndecay = 0.02")) as learner:
        hand_in(learner, 0, 2)
    with learning(press(tmp_path)) as learner:
        configuration = learner.models[MODEL].published.configuration
        assert (configuration.rows_per_step, configuration.networks[0].decay) == (0, 0.02)
        hand_in(learner, 2, 1)
    with (
        pytest.raises(ConfigurationError, match="rows_per_step: stored 0, configured 1"),
        learning(press(tmp_path, model="rows_per_step = 1")),
    ):
        pass


@pytest.mark.parametrize(
    ("first", "then", "names", "step_size"),
    [
        ('optimiser = "adam"\nstep_size = 0.01', "", ("plain",), 0.01),
        ('members = ["gain", "linear"]', "", ("gain", "linear"), 1.0),
        ('members = ["gain", "linear"]\nstep_size = 0.5', "", ("gain", "linear"), 0.5),
        ('members = ["gain", "linear"]', "step_size = 0.5", ("gain", "linear"), 0.5),
    ],
)
def test_members_and_step_size_stay_as_they_were_where_the_file_does_not_say(
    tmp_path, first, then, names, step_size
):
    with learning(press(tmp_path, model=first)) as learner:
        hand_in(learner, 0, 2)
    with learning(press(tmp_path, model=then)) as learner:
        state = learner.models[MODEL].published
        assert tuple(n.name for n in state.configuration.networks) == names
        assert state.step_size == step_size
        hand_in(learner, 2, 1)


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        ('members = ["plain"]', 'members = ["gain"]', "members: stored ..plain.., configured"),
        ('members = ["gain"]', 'optimiser = "adam"', "members: stored ..gain.., configured"),
        ('members = ["gain"]', "hidden_", "gain.hidden: stored .8, 6., configured .9."),
        ('members = ["plain"]', "label_smoothing = 0.1", "label_smoothing: stored 0.0"),
        ('optimiser = "adam"', 'optimiser = "sgd"', "optimiser: stored 'adam', configured 'sgd'"),
    ],
)
def test_another_learner_than_the_stored_one_is_refused_key_by_key(tmp_path, first, then, said):
    with learning(press(tmp_path, model=first)) as learner:
        hand_in(learner, 0, 2)
    configuration = press(tmp_path, model="" if then == "hidden_" else then)
    if then == "hidden_":
        (model,) = configuration.models
        other = model.model_copy(update={"hidden": (9,)})
        configuration = configuration.model_copy(update={"models": (other,)})
    with pytest.raises(ConfigurationError, match=said), learning(configuration):
        pass
