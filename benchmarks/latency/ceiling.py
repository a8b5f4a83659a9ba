"""The least an ASGI server does: read a body, answer with fixed bytes. `uvicorn`'s ceiling.

python -m benchmarks.latency.ceiling PORT
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn

REPLY = b'{"model":"line","predictions":["c0"],"probabilities":[[0.25,0.25,0.25,0.25]]}'


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(REPLY))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": REPLY})


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        access_log=False,
        log_level="warning",
        http="httptools",
        loop="uvloop",
        lifespan="off",
    )
