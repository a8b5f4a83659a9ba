"""The client sends again what may be sent again, and what is refused is an error."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from benchmarks.refusing import refusing
from clients import AsyncClient, Client, LabelsRefused, TryAgain, Unreachable, generate
from clients.calls import Call, batch_call, labels_call, verb_call
from tests.ports import free_port
from tests.serving import label, press, row, serving


def test_the_client_for_asyncio_is_as_it_is_written_from_the_other():
    assert (generate.HERE / "async_client.py").read_text("utf-8") == generate.text()


@pytest.mark.parametrize(
    ("call", "repeatable"),
    [
        (Call("GET", "/v1/models"), True),
        (batch_call("m", [{}], None, None, None, None, None), True),
        (batch_call("m", [{}], None, ["ok"], None, None, None), False),
        (batch_call("m", [{}], None, ["ok"], "b-1", None, None), True),
        (labels_call("m", "b-1", ["ok"], None, False, None, None), True),
        (verb_call("m", "rollback", "x", None, version=1), False),
    ],
)
def test_what_may_be_sent_twice(call, repeatable):
    assert call.repeatable is repeatable


def test_it_comes_again_after_what_the_server_says(port):
    opened = time.monotonic()
    with refusing(port), Client(f"http://127.0.0.1:{port}", retry_for_s=2.5) as client:
        with pytest.raises(TryAgain):
            client.learn("press", [row(1)], [label(1)])
        assert time.monotonic() - opened > 1.0
    with refusing(port), Client(f"http://127.0.0.1:{port}") as client:
        opened = time.monotonic()
        with pytest.raises(TryAgain):
            client.learn("press", [row(1)], [label(1)])
        assert time.monotonic() - opened < 1.0


@pytest.fixture
def port():
    return free_port()


def test_a_server_that_comes_back_is_found_by_both_clients(tmp_path, port):
    url = f"http://127.0.0.1:{port}"
    gate = threading.Event()

    def refuse():
        with refusing(port):
            gate.wait(30)

    with Client(url, retry_for_s=0.5) as client, pytest.raises(Unreachable):
        client.model("press")

    async def asked():
        async with AsyncClient(url, retry_for_s=20) as client:
            assert await client.ready() is False
            with pytest.raises(TryAgain):
                async with AsyncClient(url, retry_for_s=0.2) as impatient:
                    await impatient.models()

    thread = threading.Thread(target=refuse)
    thread.start()
    time.sleep(0.3)
    asyncio.run(asked())
    gate.set()
    thread.join()


def test_a_late_label_that_taught_nothing_is_an_error(tmp_path):
    top = f"[limits]\nidempotency_days = {0.4 / 86400}\n"
    with serving(press(tmp_path, top=top)) as running:
        with pytest.raises(LabelsRefused, match="not known; send its rows along") as refused:
            running.client.label("press", "nobody", ["ok", None])
        assert refused.value.answer.outcomes == ["unknown", "unlabelled"]
        running.client.predict("press", [row(1)], batch_id="b")
        time.sleep(0.6)
        with pytest.raises(LabelsRefused, match="too late"):
            running.client.label("press", "b", ["ok"])
        running.client.predict("press", [row(1)], batch_id="c")
        assert running.client.label("press", "c", ["ok"]).outcomes == ["learned"]
