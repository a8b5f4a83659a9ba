"""Long lists of bits in JSON: four a character. There may be hundreds of lines, each with its
past, and a manifest is read often."""

from __future__ import annotations

from typing import Any

import numpy as np

SHORTEST = 16
"""Shorter lists stay as they are."""


def packed(plain: dict[str, Any]) -> dict[str, Any]:
    """``plain`` with every long list of 0 and 1 in it, at any depth, as its length and a text."""
    return {key: _packed(value) for key, value in plain.items()}


def unpacked(plain: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `packed`."""
    return {key: _unpacked(value) for key, value in plain.items()}


def _packed(value: Any) -> Any:
    if isinstance(value, dict):
        return packed(value)
    if isinstance(value, list) and len(value) >= SHORTEST and set(value) <= {0, 1}:
        return {"rows": len(value), "bits": np.packbits(np.array(value, np.uint8)).tobytes().hex()}
    return value


def _unpacked(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value.keys() == {"rows", "bits"}:
        bits = np.frombuffer(bytes.fromhex(value["bits"]), np.uint8)
        return np.unpackbits(bits, count=value["rows"]).tolist()
    return unpacked(value)
