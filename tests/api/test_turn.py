"""Small questions that come at once are computed together, and each is answered as if alone."""

from __future__ import annotations

import asyncio

import httpx
import numpy as np
import pytest

from service.answers import Question, joined, parted
from service.api.turn import SMALL_ROWS, Turn
from service.errors import NotFinite
from service.schema import Readings
from tests.serving import press, row, serving


def question(*values, batch_id=None):
    rows = np.array(values, np.float32)[:, None]
    return Question(Readings(rows, rows, 0, 0), batch_id)


class Network:
    """Answers each question by the sum of its rows; a negative row it cannot compute."""

    def __init__(self):
        self.sizes = []

    def predict(self, model, questions, version):
        self.sizes.append(len(questions))
        rows, _ = joined(questions)
        if (rows < 0).any():
            raise NotFinite("negative")
        return [
            f"{model} {version} {q.batch_id} {part.sum():g}".encode()
            for q, part in parted(questions, rows)
        ]


def test_what_comes_in_one_turn_is_computed_as_one_for_each_model_and_version():
    network = Network()

    async def asked():
        turn = Turn(network)
        return await asyncio.gather(
            turn.ask("a", question(1, 2, batch_id="x"), None),
            turn.ask("b", question(3), None),
            turn.ask("a", question(4, batch_id="y"), None),
            turn.ask("a", question(5), "7"),
        )

    said = asyncio.run(asked())
    assert said == [b"a None x 3", b"b None None 3", b"a None y 4", b"a 7 None 5"]
    assert network.sizes == [2, 1, 1]


def test_what_goes_wrong_with_one_is_not_the_others():
    network = Network()

    async def asked():
        turn = Turn(network)
        given = [turn.ask("a", question(value), None) for value in (1, -1, 2)]
        return await asyncio.gather(*given, return_exceptions=True)

    first, bad, last = asyncio.run(asked())
    assert (first, last) == (b"a None None 1", b"a None None 2")
    assert isinstance(bad, NotFinite)


def test_who_has_left_holds_nobody_up():
    network = Network()

    async def asked(value):
        turn = Turn(network)
        gone = turn.ask("a", question(value), None)
        stays = turn.ask("a", question(2), None)
        gone.cancel()
        said = await stays
        # The next turn is one of its own.
        return said, await turn.ask("a", question(3), None)

    for value in (1, -1):
        assert asyncio.run(asked(value)) == (b"a None None 2", b"a None None 3")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with serving(press(tmp_path_factory.mktemp("turn"))) as started:
        for index in range(20):
            started.client.learn("press", [row(index)], ["ok" if index % 3 else "worn"])
        yield started


def test_rows_asked_at_once_get_what_they_get_alone(running):
    """Of one row, of several, of too many to wait, and of some that are refused."""
    sizes = [1, 2, SMALL_ROWS, SMALL_ROWS + 1, 1, 3]
    bodies = [{"rows": [row(at + k) for k in range(sizes[at % len(sizes)])]} for at in range(60)]
    bodies[7]["rows"][0]["temp"] = "hot"
    bodies[11]["rows"][0]["temp"] = 1e9
    url = f"{running.url}/v1/models/press/batches"
    alone = [httpx.post(url, json=body) for body in bodies]

    async def together():
        limits = httpx.Limits(max_connections=30)
        async with httpx.AsyncClient(limits=limits, timeout=30) as client:
            return await asyncio.gather(*(client.post(url, json=body) for body in bodies))

    answers = asyncio.run(together())
    assert [answer.status_code for answer in answers] == [a.status_code for a in alone]
    assert alone[7].status_code == 422
    for mine, theirs in zip(answers, alone, strict=True):
        first, second = mine.json(), theirs.json()
        assert first.keys() == second.keys()
        if mine.is_success:
            np.testing.assert_allclose(
                first.pop("probabilities"), second.pop("probabilities"), atol=1e-6
            )
        assert first == second
