"""What a replica says of its models: documents for HTTP."""

from __future__ import annotations

from typing import Any

from service.errors import UnknownSnapshot
from service.replica.serving import Followed


def model(followed: Followed, role: str) -> dict[str, Any]:
    """What `GET /v1/models/{model}` says."""
    serving = followed.now()
    return {
        "model": followed.name,
        "role": role,
        "status": followed.status,
        **serving.schema.to_json(),
        "seq": serving.seq,
        "snapshot": serving.version,
        "previous": followed.previous.version if followed.previous else None,
        "generation": followed.alias.generation if followed.alias else None,
        "refused": (
            {"version": followed.refused[0], "why": followed.refused[1]}
            if followed.refused
            else None
        ),
        "prequential": serving.manifest.prequential,
    }


def snapshots(followed: Followed) -> list[dict[str, Any]]:
    """The two versions that it holds: the champion and the one before."""
    held = (followed.previous, followed.serving)
    return [
        {
            "model": followed.name,
            "version": s.version,
            "seq": s.seq,
            "created_at": s.manifest.created_at,
            "serving": s is followed.serving,
        }
        for s in held
        if s is not None
    ]


def snapshot(followed: Followed, version: int) -> dict[str, Any]:
    """One manifest; raises UnknownSnapshot."""
    for held in (followed.serving, followed.previous):
        if held is not None and held.version == version:
            return held.manifest.to_json()
    known = [s["version"] for s in snapshots(followed)]
    raise UnknownSnapshot(f"model {followed.name!r}: a replica holds {known}, found {version}")
