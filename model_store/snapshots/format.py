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


def check_format(backend: Backend, location: str) -> None:
    """Raise FormatUnknown if there is a store, and of another format than this one."""
    try:
        data = backend.get(FORMAT_KEY)
    except KeyMissing:
        return
    except AboveLimit as cause:
        raise FormatUnknown(f"{location}/{FORMAT_KEY}: not ours: {cause}") from cause
    if data != format_bytes():
        raise FormatUnknown(
            f"{location}/{FORMAT_KEY}: expected {format_bytes().decode().strip()}, found "
            f"{data[:80]!r}; use the version of this software that wrote it"
        )
