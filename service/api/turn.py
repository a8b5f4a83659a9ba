"""Small questions that come in one turn of the event loop, computed as one.

A network answers sixteen rows in little more time than one: most of what one takes is the way into
the runtime and back. Nobody waits longer than until all that has come is read. Which rows lie
beside one changes its answer no more than how a line packs its own: not at all where the runtime's
kernels take rows one by one, else by a rounding.
"""

from __future__ import annotations

import asyncio

from service.answers import Question
from service.api.engine import Engine

SMALL_ROWS = 8
"""A request of more rows is computed by itself: it has little to gain."""


class Turn:
    """The event loop's alone."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: dict[
            tuple[str, str | None], list[tuple[Question, asyncio.Future[bytes]]]
        ] = {}

    def ask(self, model: str, question: Question, version: str | None) -> asyncio.Future[bytes]:
        """The answer, at the end of this turn, or what `Engine.predict` raises for the question."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._end)
        future: asyncio.Future[bytes] = loop.create_future()
        self._waiting.setdefault((model, version), []).append((question, future))
        return future

    def _end(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for (model, version), asked in waiting.items():
            try:
                answers = self._engine.predict(model, [question for question, _ in asked], version)
            # It may be one question's alone, which then is the only one to hear of it.
            except Exception:
                for question, future in asked:
                    self._alone(model, question, version, future)
            else:
                for (_, future), answer in zip(asked, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)

    def _alone(
        self, model: str, question: Question, version: str | None, future: asyncio.Future[bytes]
    ) -> None:
        if future.done():
            return  # nobody waits for it any more
        try:
            (answer,) = self._engine.predict(model, [question], version)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(answer)
