"""One request and its reply, as they pass the front: what came, what went, under which headers."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import Message, Receive, Send

Headers = Sequence[tuple[bytes, bytes]]


class Exchange:
    """Counts the bytes of both, notes the status, and adds headers to the reply.

    Parameters
    ----------
    ours
        Headers that every reply gets beside its own.
    """

    __slots__ = ("_receive", "_send", "came", "code", "ours", "went")

    def __init__(self, receive: Receive, send: Send, ours: Headers) -> None:
        self._receive, self._send, self.ours = receive, send, ours
        self.code = 500
        self.came = self.went = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self.came += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.code = message["status"]
            message["headers"] = [*message.get("headers", ()), *self.ours]
        else:
            self.went += len(message.get("body", b""))
        await self._send(message)

    async def answer(self, headers: Headers, content: bytes) -> None:
        """A whole reply that is no error."""
        self.code, self.went = 200, len(content)
        start = {"type": "http.response.start", "status": 200, "headers": [*headers, *self.ours]}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": content})
