"""When a request may be sent once more, and after how long."""

from __future__ import annotations

from typing import Any

import httpx
import stamina

from clients.calls import Call
from clients.errors import TryAgain, Unreachable

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 10.0


def attempts(call: Call, seconds: float) -> Any:
    """The tries of one request, for ``seconds`` in all.

    What is answered 429 or 503 taught nothing, and comes again after what the server says; a
    connection that was never made, after a wait that doubles. Where an answer was lost it is not
    known whether the request taught: it comes again only if it can be told from a new one, by its
    ``batch_id``, or changes nothing.
    """

    def again(error: BaseException) -> bool | float:
        if isinstance(error, TryAgain):
            return error.retry_after_s
        if not isinstance(error, Unreachable):
            return False
        return isinstance(error.__cause__, httpx.ConnectError) or call.repeatable

    return stamina.retry_context(
        on=again,
        attempts=None,
        timeout=seconds,
        wait_initial=FIRST_WAIT_S,
        wait_max=LONGEST_WAIT_S,
        wait_jitter=FIRST_WAIT_S,
    )
