"""Small questions that come in one turn of the event loop, answered together.

What came in one turn is answered in the next, once all of it is read: reading, computing and
sending each find their code and their data in the processor's cache, and who waits for the replies
is woken once. A replica's network answers sixteen rows in little more time than one, too. A learner
says of a row, to the last bit, what it would say had it come with a label, and so asks its network
about each request by itself. One line that asks and waits is answered at once.
"""

from __future__ import annotations

import asyncio

from service.answers import Question
from service.api.engine import Engine

SMALL_ROWS = 8
"""A request of more rows is computed by itself: it has little to gain."""

MOST = 32
"""Requests that are answered as one: the first of many do not wait for all."""


Waiting = tuple[Question, asyncio.Future[bytes]]


class Turn:
    """The event loop's alone."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._came = self._came_before = 0
        """Questions of this turn and of the one before."""
        self._waiting: dict[tuple[str, str | None], list[Waiting]] = {}

    def ask(
        self, model: str, question: Question, version: str | None
    ) -> bytes | asyncio.Future[bytes]:
        """The answer, at once where questions come one by one, else in the next turn; raises, then
        or now, what `Engine.predict` raises for the question."""
        loop = asyncio.get_running_loop()
        if not self._came:
            loop.call_soon(self._end)
        self._came += 1
        if self._came == 1 and self._came_before <= 1:
            return self._engine.predict(model, [question], version)[0]
        future: asyncio.Future[bytes] = loop.create_future()
        self._waiting.setdefault((model, version), []).append((question, future))
        return future

    def _end(self) -> None:
        self._came, self._came_before = 0, self._came
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
