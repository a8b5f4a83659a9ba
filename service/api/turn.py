"""Small questions that come in one turn of the event loop, computed as one.

A network answers sixteen rows in little more time than one: most of what one takes is the way into
the runtime and back. What came in one turn is answered in the next, once all of it is read. It is
for replicas: a learner says of a row, to the last bit, what it would say had it come with a label,
and so asks its network about each request by itself.
"""

from __future__ import annotations

import asyncio

from service.answers import Question
from service.api.engine import Engine

SMALL_ROWS = 8
"""A request of more rows is computed by itself: it has little to gain."""

MOST = 32
"""Requests that are computed as one: the first of many do not wait for all."""


Waiting = tuple[Question, asyncio.Future[bytes]]


class Turn:
    """The event loop's alone."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: dict[tuple[str, str | None], list[Waiting]] = {}

    def ask(self, model: str, question: Question, version: str | None) -> asyncio.Future[bytes]:
        """The answer, in the next turn, or what `Engine.predict` raises for the question."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._end)
        future: asyncio.Future[bytes] = loop.create_future()
        self._waiting.setdefault((model, version), []).append((question, future))
        return future

    def _end(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for (model, version), asked in waiting.items():
            for first in range(0, len(asked), MOST):
                self._answer(model, version, asked[first : first + MOST])

    def _answer(self, model: str, version: str | None, asked: list[Waiting]) -> None:
        try:
            answers = self._engine.predict(model, [question for question, _ in asked], version)
        except Exception as error:
            if len(asked) > 1:
                # It may be one question's alone, which then is the only one to hear of it.
                for one in asked:
                    self._answer(model, version, [one])
            elif not asked[0][1].done():
                asked[0][1].set_exception(error)
            return
        for (_, future), answer in zip(asked, answers, strict=True):
            # Unless nobody waits for it any more.
            if not future.done():
                future.set_result(answer)
