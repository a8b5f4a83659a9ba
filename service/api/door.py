"""What is refused before any route sees it: requests that a web page may have sent for somebody.

A browser sends what a page asks it to, also to a loopback address. So a request
must be meant for a name that is ours: a page can let a name of its own point here (DNS rebinding).
And one that changes something must say that its body is JSON, which a page cannot do unasked, and
come from no other origin. Probes pass always.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from functools import lru_cache
from urllib.parse import urlsplit

from service.api.paths import PROBES

SAFE = {"GET", "HEAD", "OPTIONS"}
LOOPBACK = {"localhost"}
ENCODINGS = (b"identity", b"gzip", b"deflate")
TENSORS = {None, b"application/octet-stream"}
"""Types of bodies that clients of the inference protocol send: a JSON header, and tensors."""


class Door:
    """Whether a request may pass.

    Parameters
    ----------
    hosts
        Names under which it is reached, beside ``localhost`` and addresses of numbers, to which no
        page can let its own name point.
    """

    def __init__(self, hosts: Collection[str]) -> None:
        self._hosts = {*LOOPBACK, *(host.lower() for host in hosts)}
        self._ours = lru_cache(maxsize=256)(self._is_ours)

    def refusal(
        self, method: str, path: str, headers: dict[bytes, bytes]
    ) -> tuple[int, str, str] | None:
        """Status, title and detail of the answer to whom it may not; None where it may."""
        if method in SAFE and PROBES.fullmatch(path):
            return None
        named = headers.get(b"host", b"")
        if not self._ours(named):
            host = named.decode("latin-1").lower()
            known = ", ".join(sorted(self._hosts))
            return (
                421,
                "Misdirected request",
                f"Host: expected an address or one of {known}, found {host[:100]!r}; "
                "allowed_hosts in the configuration adds names",
            )
        if method in SAFE:
            return None
        origin = headers.get(b"origin")
        if origin is not None and _netloc(origin) != named.decode("latin-1").lower():
            host, said = named.decode("latin-1").lower(), origin.decode("latin-1")[:100]
            return 403, "Foreign origin", f"Origin: expected none or http://{host}, found {said!r}"
        encoding = headers.get(b"content-encoding")
        if encoding is not None and encoding.lower() not in ENCODINGS:
            return (
                415,
                "Unsupported encoding",
                f"Content-Encoding: expected one of {b', '.join(ENCODINGS).decode()}, "
                f"found {encoding.decode('latin-1').lower()[:60]!r}",
            )
        sent = headers.get(b"content-type")
        if sent == b"application/json":
            return None
        empty = headers.get(b"content-length", b"0") == b"0"
        # A page that leaves the type out still names its origin.
        if path.startswith("/v2/models") and sent in TENSORS:
            return None
        if sent is None and empty and b"transfer-encoding" not in headers:
            return None
        kind = (sent or b"").split(b";")[0].strip().lower().decode("latin-1")
        if kind != "application/json":
            return (
                415,
                "Unsupported media type",
                f"Content-Type: expected application/json, found {kind[:60] or 'none'!r}",
            )
        return None

    def _is_ours(self, host: bytes) -> bool:
        try:
            name = urlsplit(f"//{host.decode('latin-1').lower()}").hostname or ""
        except ValueError:
            return False
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _netloc(origin: bytes) -> str:
    return urlsplit(origin.decode("latin-1").lower()).netloc
