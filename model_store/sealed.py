"""JSON that protects itself: one spelling per value, with a digest of it inside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from model_store.errors import Damaged

DIGEST = "digest"


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
    that means the same is damage too.

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
    try:
        digest, spelled = digest_of(value), _spell(value)
    except (ValueError, RecursionError) as cause:
        raise error(path, "finite numbers", "NaN or infinity") from cause
    if digest != value[DIGEST]:
        raise error(path, f"the digest it names, {value[DIGEST]}", digest)
    if spelled != data:
        raise error(path, "the spelling that was written", "another of the same value")
    return value
