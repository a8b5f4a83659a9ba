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
