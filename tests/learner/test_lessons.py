"""A lesson's bytes are what safetensors writes."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save

from service.history.lessons import Lesson


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("set_aside", [False, True])
def test_its_bytes_are_what_the_library_writes(rows, earlier, set_aside):
    rng = np.random.default_rng(rows)
    arrays = {
        "rows": rng.normal(size=(rows, 5)).astype(np.float32),
        "labels": rng.integers(-1, 3, rows),
    }
    if earlier:
        arrays["earlier"] = rng.random((rows, 3)).astype(np.float32)
    lesson = Lesson(**arrays, set_aside=set_aside)
    if set_aside:
        arrays["set_aside"] = np.ones(1, np.uint8)
    for _ in range(2):
        assert lesson.to_bytes() == save(arrays)
    again = Lesson.from_bytes(lesson.to_bytes())
    assert again.rows.tobytes() == arrays["rows"].tobytes()
    assert again.labels.tolist() == arrays["labels"].tolist()
    assert (again.earlier is not None, again.set_aside) == (earlier, set_aside)


def test_rows_that_are_a_part_of_others_are_written_alone():
    whole = np.arange(20, dtype=np.float32).reshape(4, 5)
    labels = np.arange(4)
    part = Lesson(whole[::2], labels[::2]).to_bytes()
    assert part == save({"rows": whole[::2].copy(), "labels": labels[::2].copy()})


def test_what_else_a_lesson_says_goes_along():
    lesson = Lesson(np.zeros((1, 2), np.float32), np.zeros(1, np.int64), trace="ab", arrived=1.5)
    again = Lesson.from_bytes(lesson.to_bytes())
    assert (again.trace, again.arrived) == ("ab", 1.5)
