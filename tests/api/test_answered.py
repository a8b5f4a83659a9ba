"""Answers on their way from the writer's thread to the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future

from service.api import answered
from service.api.answered import Answered
from service.errors import Unavailable


def _futures(count):
    return [Future() for _ in range(count)]


async def _elsewhere(do):
    do.start()
    while do.is_alive():
        await asyncio.sleep(0.001)


def test_each_waits_for_its_own_answer_or_error():
    async def asked():
        there, ways = _futures(3), Answered()
        waiting = [asyncio.create_task(_given(ways, future)) for future in there]
        await asyncio.sleep(0)

        def answer():
            there[2].set_result(b"third")
            there[0].set_result(b"first")
            there[1].set_exception(Unavailable("the disk is full"))
            ways.let_out()

        await _elsewhere(threading.Thread(target=answer))
        return await asyncio.gather(*waiting, return_exceptions=True)

    first, second, third = asyncio.run(asked())
    assert (first, third) == (b"first", b"third")
    assert isinstance(second, Unavailable)


def test_the_writer_goes_on_behind_those_who_were_answered(monkeypatch):
    monkeypatch.setattr(answered, "PATIENCE_S", 60.0)
    seen = []

    async def asked():
        there, ways = _futures(2), Answered()

        async def wait(name, future):
            await ways.wait_for(future)
            seen.append(name)

        waiting = [asyncio.create_task(wait(f"reply {i}", f)) for i, f in enumerate(there)]
        await asyncio.sleep(0)

        def answer():
            for future in there:
                future.set_result(b"")
            ways.let_out()
            seen.append("writer")

        await _elsewhere(threading.Thread(target=answer))
        await asyncio.gather(*waiting)

    asyncio.run(asked())
    assert seen == ["reply 0", "reply 1", "writer"]


def test_one_wake_up_brings_a_groups_answers():
    woken = []

    async def asked():
        loop, there, ways = asyncio.get_running_loop(), _futures(16), Answered()
        wake = loop.call_soon_threadsafe

        def counted(*call):
            woken.append(call)
            return wake(*call)

        loop.call_soon_threadsafe = counted
        waiting = [ways.wait_for(future) for future in there]
        # The loop runs on only once all of them are answered.
        answering = threading.Thread(target=lambda: [f.set_result(b"") for f in there])
        answering.start()
        answering.join()
        await asyncio.gather(*waiting)

    asyncio.run(asked())
    assert len(woken) == 1


def test_who_has_gone_takes_nothing_from_the_others():
    async def asked():
        there, ways = _futures(2), Answered()
        gone, waiting = (ways.wait_for(future) for future in there)
        gone.cancel()

        def answer():
            for future in there:
                future.set_result(b"both")

        await _elsewhere(threading.Thread(target=answer))
        assert not there[0].cancelled()
        return await waiting

    assert asyncio.run(asked()) == b"both"


def test_a_loop_that_is_busy_holds_the_writer_for_a_moment_only():
    async def asked():
        (future,), ways = _futures(1), Answered()
        waiting, took = ways.wait_for(future), []

        def answer():
            future.set_result(b"")
            began = time.perf_counter()
            ways.let_out()
            took.append(time.perf_counter() - began)

        answering = threading.Thread(target=answer)
        answering.start()
        answering.join()  # The loop does nothing meanwhile.
        await waiting
        return took[0]

    assert asyncio.run(asked()) >= answered.PATIENCE_S


def test_nobody_waits_in_a_loop_that_was_closed():
    ways, (future,) = Answered(), _futures(1)

    async def asked():
        ways.wait_for(future)

    asyncio.run(asked())
    future.set_result(b"late")
    ways.let_out()

    (again,) = _futures(1)

    async def asked_again():
        waiting = ways.wait_for(again)
        await _elsewhere(threading.Thread(target=lambda: again.set_result(b"here")))
        return await waiting

    assert asyncio.run(asked_again()) == b"here"


async def _given(ways, future):
    return await ways.wait_for(future)
