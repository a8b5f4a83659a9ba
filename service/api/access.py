"""Who asks, and whether they may: every request passes here before anything looks at it.

What a path is not known to be, only an operator may ask to change, and only a key may read; so a
route that is forgotten here is closed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import structlog
from starlette.types import Scope

from service.access.keyring import Keyring
from service.access.keys import Key, Role
from service.api.door import SAFE
from service.api.paths import LINES, MODEL, OPEN
from service.errors import Forbidden, Unauthenticated

log = structlog.get_logger()

SHARED = {"/v1/models", "/v2", "/v2/"}
"""Pages about no one model that a key may read which is bound to some."""

SILENT_S = 10.0
"""Seconds between two lines of the log about refusals for the same reason to the same key."""

CALLER = "apical.caller"
"""In a request's scope: its key."""


class Access:
    """Keys and roles; without a ``keyring`` nobody is asked."""

    def __init__(self, keyring: Keyring | None) -> None:
        self._keyring = keyring
        self._told: dict[tuple[str, str], tuple[float, int]] = {}

    def admit(self, scope: Scope, headers: Mapping[bytes, bytes], path: str) -> Key | None:
        """The key of a request that may pass; None where none is asked for.

        Raises
        ------
        Unauthenticated
            No key, one that is not known, or one that was revoked.
        Forbidden
            Its role, or the models that it is bound to, do not allow this.
        """
        if self._keyring is None or (scope["method"] in SAFE and OPEN.fullmatch(path)):
            return None
        name = ""
        try:
            key = self._presented(headers)
            name = key.name
            self._allowed(key, scope["method"], path)
        except (Unauthenticated, Forbidden) as error:
            self._tell(error.reason, name, scope)
            raise
        scope[CALLER] = key
        return key

    def _presented(self, headers: Mapping[bytes, bytes]) -> Key:
        assert self._keyring is not None
        said = headers.get(b"authorization")
        if said is None:
            raise Unauthenticated("no_key", "expected Authorization: Bearer KEY, found none")
        scheme, _, presented = said.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("no_key", "expected Authorization: Bearer KEY, found another")
        key = self._keyring.find(presented.strip())
        if key is None or key.revoked_at is not None:
            # The same for both: whoever has a revoked key need not know that it was one.
            reason = "unknown_key" if key is None else "revoked_key"
            raise Unauthenticated(reason, "expected a key that is in use, found another")
        return key

    def _allowed(self, key: Key, method: str, path: str) -> None:
        needed: Role = "operator"
        if method in SAFE:
            needed = "reader"
        elif LINES.fullmatch(path):
            needed = "line"
        if not key.may(needed):
            raise Forbidden(
                "role", f"expected a key with the role {needed}, found {key.role} of {key.name!r}"
            )
        if not key.models:
            return
        about = MODEL.fullmatch(path)
        if (about is None and path not in SHARED) or (about and not key.opens(about["model"])):
            bound = ", ".join(key.models)
            raise Forbidden("model", f"key {key.name!r}: expected a request about {bound} alone")

    def _tell(self, reason: str, name: str, scope: Scope) -> None:
        """One line of the log, but not one for each request of a flood."""
        now = time.monotonic()
        last, untold = self._told.get((reason, name), (-SILENT_S, 0))
        if now - last < SILENT_S:
            self._told[reason, name] = last, untold + 1
            return
        self._told[reason, name] = now, 0
        client = scope.get("client")
        address = client[0] if client else "unknown"
        log.warning("refused", reason=reason, key=name, address=address, untold=untold)


def caller(scope: Scope) -> Key | None:
    """The key of a request; None where none was asked for."""
    found: Key | None = scope.get(CALLER)
    return found


def line_of(key: Key | None, line: str | None) -> str | None:
    """The line that a request is of; raises Forbidden for another than its key is bound to."""
    if key is None or key.line is None:
        return line
    if line is not None and line != key.line:
        raise Forbidden(
            "line", f"line: key {key.name!r} is bound to {key.line!r}, found {line[:60]!r}"
        )
    return key.line
