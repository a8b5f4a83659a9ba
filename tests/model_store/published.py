"""What the tests publish, and where it lies."""

from __future__ import annotations

FILES = {"model.onnx": b"graph" * 3, "state.safetensors": bytes(range(20))}


def folder(version: int) -> str:
    """Of one snapshot of model ``m``."""
    return f"models/m/snapshots/{version:08d}"
