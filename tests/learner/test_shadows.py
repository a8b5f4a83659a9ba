"""Frozen networks are asked once about what became durable together."""

from __future__ import annotations

import numpy as np

from service.learner.shadows import Asked, Shadow
from service.learner.taken import Lessoned
from service.state import Reply
from tests.kernel import KERNEL, born
from tests.serving import press


class Counting:
    def __init__(self):
        self.rows = []

    def forward(self, state, rows):
        self.rows.append(len(rows))
        return KERNEL.forward(state, rows)


def lesson(count, seed):
    rows = np.random.default_rng(seed).normal(5, 2, (count, 2)).astype(np.float32)
    labels, said = np.zeros(count, np.int64), np.full((count, 2), 0.5, np.float32)
    return Lessoned(rows, labels, Reply(said, labels == 0, said[None]))


def test_each_lesson_hears_what_it_would_alone_and_each_network_is_asked_once(tmp_path):
    state = born(press(tmp_path).models[0])
    champion, candidate = Shadow(1, state), Shadow(2, state._replace(seq=7))
    lessons = [lesson(1, 0), lesson(3, 1), lesson(1, 0), lesson(20, 2)]
    kernel = Counting()
    asked = Asked(kernel, lessons)
    # Two that are equal are two all the same.
    for each in (*lessons[::-1], lessons[1]):
        alone = KERNEL.forward(state, each.rows)
        for shadow in (champion, candidate):
            np.testing.assert_allclose(asked.of(shadow, each), alone, atol=1e-6)
    assert kernel.rows == [25, 25]
