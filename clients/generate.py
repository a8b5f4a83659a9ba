"""Write `clients/async_client.py` from `clients/client.py`: `python -m clients.generate`.

One source for both: what differs is where the other one waits.
"""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent

CHANGES = (
    (r'^"""The client;[^"]*"""', '"""The client for asyncio; written by `clients.generate`."""'),
    (r"\bclass Client:", "class AsyncClient:"),
    (r"\bhttpx\.HTTPTransport\b", "httpx.AsyncHTTPTransport"),
    (r"(?m)^    def (?!__init__|url\b)", "    async def "),
    (r"__enter__", "__aenter__"),
    (r"__exit__", "__aexit__"),
    (r"(?m)^( +)for attempt in", r"\1async for attempt in"),
    (r"self\._http\.close\(", "await self._http.aclose("),
    (r"self\._http\.handle_request\(", "await self._http.handle_async_request("),
    (r"response\.read\(", "await response.aread("),
    (r"self\.(send|_once|_exchanged|close)\(", r"await self.\1("),
)


def text() -> str:
    """What the file says."""
    written = (HERE / "client.py").read_text("utf-8")
    for pattern, other in CHANGES:
        written = re.sub(pattern, other, written)
    return written


if __name__ == "__main__":
    (HERE / "async_client.py").write_text(text(), "utf-8")
