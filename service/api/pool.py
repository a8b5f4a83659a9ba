"""A place of their own for what takes long, so that it takes no place from what must not."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread

P = ParamSpec("P")
R = TypeVar("R")

AT_ONCE = 2


class Pool:
    """So many questions of operators are looked into at once; the others wait their turn."""

    def __init__(self) -> None:
        self._places = anyio.CapacityLimiter(AT_ONCE)

    async def ask(self, do: Callable[P, R], *arguments: P.args, **more: P.kwargs) -> R:
        """Do it on a thread of this pool."""
        return await anyio.to_thread.run_sync(lambda: do(*arguments, **more), limiter=self._places)
