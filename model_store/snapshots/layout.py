"""Where things lie in a store: keys of models, snapshots and what stands beside them."""

from __future__ import annotations

from collections.abc import Iterable

from model_store.backends.backend import check_name


def folder(model: str, kind: str) -> str:
    """``kind``: snapshots, aliases, audit, keep, quarantine or tombstones."""
    return f"models/{check_name(model, 'model')}/{kind}"


def snapshot(model: str, version: int) -> str:
    """The prefix of a snapshot's files."""
    return f"{folder(model, 'snapshots')}/{version:08d}"


def numbers(names: Iterable[str]) -> list[int]:
    """The numbers that names start with: ``00000012``, ``00000012-2``, ``00000012.json``."""
    return sorted({int(n[:8]) for n in names if n[:8].isdigit() and n[8:9] in ("", "-", ".")})
