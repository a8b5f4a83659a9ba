"""A store and a log that do not belong together are told so, by name."""

from __future__ import annotations

import shutil

import pytest

from service.errors import ConfigurationError
from service.learner.requests import TakeSnapshot
from service.operations import questions
from tests.durability.aftermath import MODEL, learning
from tests.line import hand_in, submit
from tests.serving import press


def written(folder, label, count):
    with learning(press(folder)) as learner:
        hand_in(learner, 0, count, label)
        submit(learner, TakeSnapshot(MODEL, "demand"))
    return folder


@pytest.mark.parametrize("longer", [4, 9])
def test_the_store_of_one_line_with_the_log_of_another_is_refused(tmp_path, longer):
    one = written(tmp_path / "one", 1, 4)
    other = written(tmp_path / "other", 0, longer)
    shutil.rmtree(one / "log")
    shutil.copytree(other / "log", one / "log")
    with pytest.raises(ConfigurationError) as refused, learning(press(one)):
        pass
    for named in (str(one / "store"), str(one / "log"), "do not belong together", "event 4"):
        assert named in str(refused.value)


def test_verify_names_snapshots_of_another_log(tmp_path):
    folder = written(tmp_path / "one", 1, 4)
    other = written(tmp_path / "other", 0, 4)
    with learning(press(folder)) as learner, learning(press(other)) as elsewhere:
        assert questions.verify(learner.store, MODEL, learner.events)["problems"] == []
        problems = questions.verify(learner.store, MODEL, elsewhere.events)["problems"]
        assert [p["path"] for p in problems] == ["snapshot 2"]
