"""Where a server is, and what every request to it says; the same for sync and async.

Requests go straight to httpx's transports. What `httpx.Client` does beside that for each request,
from merged URLs to cookies and redirects, takes longer than the server does for a row.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import warnings
from base64 import b64encode
from functools import lru_cache
from typing import Any

import httpx

from clients.calls import Call
from clients.errors import InvalidInput


class Endpoint:
    """A server's address, with key and trust, of the environment where they are not said.

    Raises
    ------
    InvalidInput
        ``url`` is not that of an HTTP server.
    """

    def __init__(self, url: str, key: str | None, ca: str | None, timeout_s: float) -> None:
        try:
            base = httpx.URL(url)
            known = base.scheme in ("http", "https") and bool(base.host)
            known = known and not (base.query or base.fragment)
            shown = str(base.copy_with(username=None, password=None)) if base.userinfo else url
        except httpx.InvalidURL:
            known, shown = False, url.rpartition("@")[2]
        if not known:
            raise InvalidInput(f"url: expected one such as http://127.0.0.1:8080, found {shown!r}")
        # A password in it is the proxy's before the server, and no part of what is told.
        self.url = shown.rstrip("/")
        key = key or os.environ.get("APICAL_KEY", "").strip() or None
        if key is not None and base.userinfo:
            raise InvalidInput(
                "url: expected no user beside an API key, for a request says one of the two"
            )
        if key is not None and base.scheme == "http" and not _loopback(base.host):
            warnings.warn(
                f"an API key goes to {self.url} over plain HTTP, where others can read it",
                stacklevel=3,
            )
        ca = ca or os.environ.get("APICAL_CA") or None
        # No proxy of the environment: a line's gateway talks to its own network.
        self.trust: dict[str, Any] = {
            "verify": True if ca is None else ssl.create_default_context(cafile=ca),
            "trust_env": False,
        }
        self.headers = {"Accept": "application/json", "User-Agent": "apical"}
        if key is not None:
            self.headers["Authorization"] = f"Bearer {key}"
        elif base.userinfo:
            said = b64encode(f"{base.username}:{base.password}".encode()).decode()
            self.headers["Authorization"] = f"Basic {said}"
        self._timeouts = {"timeout": httpx.Timeout(timeout_s).as_dict()}
        self._at = lru_cache(maxsize=256)(lambda path: httpx.URL(self.url + path))

    def request(self, call: Call) -> httpx.Request:
        """One of `clients.calls`, as a transport takes it."""
        return httpx.Request(
            call.method,
            self._at(call.path),
            params=call.query,
            headers=self.headers,
            json=call.body,
            extensions=self._timeouts,
        )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
