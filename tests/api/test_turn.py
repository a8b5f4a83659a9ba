"""Small questions that come at once are computed together, and each is answered as if alone."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from service.answers import Question, joined, parted
from service.api import bodies as bodies_of_requests
from service.api.app import create_app
from service.api.turn import MOST, SMALL_ROWS, Turn
from service.bootstrap.replica import open_replica
from service.errors import NotFinite
from service.schema import Readings
from tests.line import wait_for
from tests.serving import listening, press, row, serving


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


async def busy(network):
    """A turn before which two questions came at once."""
    turn = Turn(network)
    turn.ask("a", question(0), None)
    await turn.ask("a", question(0), None)
    network.sizes.clear()
    return turn


def test_who_asks_alone_is_answered_at_once():
    network = Network()

    async def asked():
        turn = Turn(network)
        first = turn.ask("a", question(1), None)
        second = turn.ask("a", question(2), None)
        said = [first, await second]
        # Two came: whoever is the next waits for those beside.
        third = turn.ask("a", question(3), None)
        said.append(await third)
        said.append(turn.ask("a", question(4), None))
        await asyncio.sleep(0)
        with pytest.raises(NotFinite):
            turn.ask("a", question(-1), None)
        return said

    assert asyncio.run(asked()) == [b"a None None %d" % k for k in (1, 2, 3, 4)]


def test_what_comes_in_one_turn_is_computed_as_one_for_each_model_and_version():
    network = Network()

    async def asked():
        turn = await busy(network)
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
        turn = await busy(network)
        given = [turn.ask("a", question(value), None) for value in (1, -1, 2)]
        return await asyncio.gather(*given, return_exceptions=True)

    first, bad, last = asyncio.run(asked())
    assert (first, last) == (b"a None None 1", b"a None None 2")
    assert isinstance(bad, NotFinite)


def test_who_has_left_holds_nobody_up():
    network = Network()

    async def asked(value):
        turn = await busy(network)
        gone = turn.ask("a", question(value), None)
        stays = turn.ask("a", question(2), None)
        gone.cancel()
        said = await stays
        # The next turn is one of its own.
        beside = turn.ask("a", question(3), None)
        return said, await beside

    for value in (1, -1):
        assert asyncio.run(asked(value)) == (b"a None None 2", b"a None None 3")


def test_no_group_is_larger_than_what_may_be_computed_as_one():
    network = Network()

    async def asked():
        turn = await busy(network)
        return await asyncio.gather(
            *(turn.ask("a", question(k), None) for k in range(2 * MOST + 1))
        )

    assert asyncio.run(asked()) == [f"a None None {k}".encode() for k in range(2 * MOST + 1)]
    assert network.sizes == [MOST, MOST, 1]


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    folder = tmp_path_factory.mktemp("turn")
    with serving(press(folder)) as started:
        for index in range(20):
            started.client.learn("press", [row(index)], ["ok" if index % 3 else "worn"])
        started.client.snapshot("press")
    engine = open_replica(str(folder / "store"))
    with listening(create_app(engine)) as url:
        wait_for(lambda: not engine.not_ready)
        yield engine, url


def test_rows_asked_at_once_get_what_they_get_alone(replica, monkeypatch):
    """Of one row, of several, of too many to wait, and of some that are refused."""
    engine, url = replica
    sizes, computed, predict = [1, 2, SMALL_ROWS, SMALL_ROWS + 1, 1, 3], [], engine.predict
    bodies = [{"rows": [row(at + k) for k in range(sizes[at % 6])]} for at in range(60)]
    bodies[7]["rows"][0]["temp"] = "hot"
    bodies[11]["rows"][0]["temp"] = 1e9
    url = f"{url}/v1/models/press/batches"
    alone = [httpx.post(url, json=body) for body in bodies]

    def counted(model, questions, version=None):
        computed.append([len(q.readings.rows) for q in questions])
        return predict(model, questions, version)

    monkeypatch.setattr(engine, "predict", counted)

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
    assert sum(map(len, computed)) == 59
    assert max(map(len, computed)) > 1
    assert all(len(group) == 1 for group in computed if max(group) > SMALL_ROWS)


def test_a_learner_asks_its_network_about_each_request_by_itself(tmp_path, monkeypatch):
    """So that a row's answer does not depend, by a rounding, on what came beside it."""
    with serving(press(tmp_path)) as running:
        url = f"{running.url}/v1/models/press/batches"
        bodies = [{"rows": [row(at)]} for at in range(60)]
        alone = [httpx.post(url, json=body).content for body in bodies]

        async def together():
            async with httpx.AsyncClient(timeout=30) as client:
                return await asyncio.gather(*(client.post(url, json=body) for body in bodies))

        assert [answer.content for answer in asyncio.run(together())] == alone


def test_a_small_body_that_came_with_its_head_is_not_waited_for(tmp_path, monkeypatch):
    waited, whole = [], bodies_of_requests.whole

    async def counted(*about):
        waited.append(about)
        return await whole(*about)

    monkeypatch.setattr(bodies_of_requests, "whole", counted)
    body = json.dumps({"rows": [row(1)]}).encode()
    head = "POST /v1/models/press/batches HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with serving(press(tmp_path)) as running:
        for cut, waits in ((None, 0), (20, 1)):
            with socket.create_connection(("127.0.0.1", urlsplit(running.url).port)) as line:
                line.sendall(head.encode() + body[:cut])
                time.sleep(0.2)
                line.sendall(body[cut:] if cut else b"")
                assert line.recv(65536).startswith(b"HTTP/1.1 200")
            assert len(waited) == waits
        text = httpx.get(f"{running.url}/metrics").text
    route = 'model="press",route="/v1/models/{model}/batches"'
    assert f"apical_received_bytes_total{{{route}}} {2.0 * len(body)}" in text
