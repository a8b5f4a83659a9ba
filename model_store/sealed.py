"""JSON that protects itself: one spelling per value, with a digest of it inside."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from typing import Any

from model_store.errors import Damaged

DIGEST = "digest"

MOST_KNOWN = 1024
"""Files of which is known that they passed: 32 bytes each."""


def digest_of(value: Mapping[str, Any]) -> str:
    """sha256, in hex, of the value's compact JSON with sorted keys, without its digest field."""
    bare = {key: item for key, item in value.items() if key != DIGEST}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _spell(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def seal(value: Mapping[str, Any]) -> bytes:
    """The value as JSON, its digest added.

    Raises
    ------
    ValueError, TypeError
        It is not JSON: NaN, infinity, or a type that JSON does not have.
    """
    return _spell({**value, DIGEST: digest_of(value)})


def unseal(data: bytes, path: str, error: type[Damaged] = Damaged) -> dict[str, Any]:
    """The value of a sealed file, its digest included.

    The bytes must be spelled exactly as :func:`seal` spells them: a changed space or an escape
    that means the same is damage too. To spell them again takes milliseconds, so the very bytes
    that passed before are only parsed.

    Raises
    ------
    Damaged
        Or ``error``, a kind of it: names the path, what was expected and what was found.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as cause:
        raise error(path, "sealed JSON", f"{len(data)} bytes that do not parse") from cause
    if not isinstance(value, dict) or not isinstance(value.get(DIGEST), str):
        raise error(path, "a JSON object with its digest", "one without")
    if _known.has(data):
        return value
    try:
        digest, spelled = digest_of(value), _spell(value)
    except (ValueError, RecursionError) as cause:
        raise error(path, "finite numbers", "NaN or infinity") from cause
    if digest != value[DIGEST]:
        raise error(path, f"the digest it names, {value[DIGEST]}", digest)
    if spelled != data:
        raise error(path, "the spelling that was written", "another of the same value")
    _known.add(data)
    return value


class _Known:
    """Files that passed, by the sha256 of their bytes; the newest `MOST_KNOWN`."""

    def __init__(self) -> None:
        self._digests: dict[bytes, None] = {}
        self._lock = threading.Lock()

    def has(self, data: bytes) -> bool:
        return hashlib.sha256(data).digest() in self._digests

    def add(self, data: bytes) -> None:
        with self._lock:
            self._digests[hashlib.sha256(data).digest()] = None
            if len(self._digests) > MOST_KNOWN:
                del self._digests[next(iter(self._digests))]


_known = _Known()
