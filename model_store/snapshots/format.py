"""The format version of a snapshot store."""

from __future__ import annotations

import json

from model_store.backends.backend import Backend
from model_store.errors import AboveLimit, FormatUnknown, KeyMissing

FORMAT = 1
FORMAT_KEY = "format.json"


def format_bytes() -> bytes:
    """The one content of format.json that this version writes and reads."""
    return (json.dumps({"format": FORMAT}) + "\n").encode()


def check_format(backend: Backend, location: str, *, write: bool = False) -> None:
    """Raise FormatUnknown if there is a store, and of another format than this one; or, before it
    is made with ``write``, if there is none and the place is not empty either."""
    try:
        data = backend.get(FORMAT_KEY)
    except KeyMissing:
        if write:
            found = backend.top()
            if FORMAT_KEY in found:
                # Another process made the store between the two looks.
                check_format(backend, location)
            elif found:
                _refuse_foreign(found, location)
        return
    except AboveLimit as cause:
        raise FormatUnknown(f"{location}/{FORMAT_KEY}: not ours: {cause}") from cause
    if data != format_bytes():
        raise FormatUnknown(
            f"{location}/{FORMAT_KEY}: expected {format_bytes().decode().strip()}, found "
            f"{data[:80]!r}; use the version of this software that wrote it"
        )


def _refuse_foreign(found: list[str], location: str) -> None:
    raise FormatUnknown(
        f"{location}: expected a snapshot store, or an empty or missing folder to make one in, "
        f"found {', '.join(map(repr, found[:5]))}{' …' if len(found) > 5 else ''} and no "
        f"{FORMAT_KEY}; nothing was changed"
    )
