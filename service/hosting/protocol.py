"""HTTP/1.1 with bounds on what a connection may send before there is a request to refuse."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.bodies import HERE, SMALL_BYTES

MAX_URL_BYTES = 8 * 1024
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100
HEAD_S = 10.0
"""A connection that has sent no whole request head for so long is closed, also if it is silent."""

_REASONS = {
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's, which takes heads of any size and waits for them for ever."""

    most = sys.maxsize
    """Connections at once. uvicorn's own bound refuses requests of those that are there already."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._head_bytes = self._piece_bytes = self._behind_bytes = 0
        self._in_head = True
        self._begun = False
        self._body_bytes = 0
        # Since the last piece of a body: what frames it, and what is sent behind it.
        self._around_body_bytes = 0
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self.most:
            self._refuse(503, f"at most {self.most} connections")

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._piece_bytes = len(data)
        if self._in_head:
            self._head_bytes += len(data)
        else:
            self._around_body_bytes += len(data)
        super().data_received(data)
        if self._late is None and self._in_head and self._begun:
            self._await_head()
        # A head that goes on beyond what came: httptools keeps it, however long it grows.
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, f"a request head of at most {MAX_HEAD_BYTES} bytes")
        # Nor do a chunk's extensions or the trailers end by themselves.
        if self._around_body_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, f"at most {MAX_HEAD_BYTES} bytes of trailers")

    def on_headers_complete(self) -> None:
        self._head_came()
        self._body_bytes = 0
        # No more than came, with what may have lain behind the request before it in one piece; of
        # small pieces that is enough to know.
        size = self._head_bytes + self._behind_bytes
        if size > MAX_HEAD_BYTES:
            size = sum(len(name) + len(value) for name, value in self.headers)
        if len(self.url) > MAX_URL_BYTES:
            self._refuse(414, f"a URL of at most {MAX_URL_BYTES} bytes", len(self.url))
        elif len(self.headers) > MAX_HEADERS:
            self._refuse(431, f"at most {MAX_HEADERS} headers", len(self.headers))
        elif size > MAX_HEAD_BYTES:
            self._refuse(431, f"a request head of at most {MAX_HEAD_BYTES} bytes", size)
        else:
            super().on_headers_complete()
            # Trailers say nothing that anybody here reads: they go nowhere.
            self.headers = _Nowhere()

    def on_body(self, body: bytes) -> None:
        self._around_body_bytes = 0
        self._body_bytes += len(body)
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_begin(self) -> None:
        self._begun = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._in_head, self._head_bytes, self._around_body_bytes = True, 0, 0
        self._begun, self._behind_bytes = False, self._piece_bytes
        if not self.transport.is_closing():
            cycle = self.cycle
            # Unless the application has taken some of it already.
            if cycle is not None and len(cycle.body) == self._body_bytes <= SMALL_BYTES:
                self.scope[HERE] = bytes(cycle.body)  # type: ignore[literal-required]
            super().on_message_complete()

    def on_response_complete(self) -> None:
        # A connection that is silent from here on keeps no body.
        if self.cycle.response_complete:
            self.cycle.body = bytearray()
            self.cycle.scope.pop(HERE, None)  # type: ignore[misc]
        super().on_response_complete()

    def _await_head(self) -> None:
        self._late = self.loop.call_later(HEAD_S, self._too_late)

    def _head_came(self) -> None:
        self._in_head = False
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        if self._in_head and not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, status: int, expected: str, found: int | None = None) -> None:
        reason = _REASONS[status]
        slug = reason.lower().replace(" ", "-")
        said = f"expected {expected}, found {'more' if found is None else found}"
        body = (
            f'{{"type":"urn:apical:{slug}","title":"{reason}","status":{status},"detail":"{said}"}}'
        )
        self.transport.write(
            f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode()
        )
        self.transport.close()
        # What comes behind is not looked at any more.
        self.parser = httptools.HttpRequestParser(_Deaf())


def bounded(connections: int) -> type[BoundedProtocol]:
    """With a bound on how many connections there are at once."""
    return type("Bounded", (BoundedProtocol,), {"most": connections})


class _Nowhere(list[tuple[bytes, bytes]]):
    """Of what is put into it nothing is kept."""

    def append(self, pair: tuple[bytes, bytes]) -> None:
        pass


class _Deaf:
    """Hears nothing of what a refused connection still sends."""
