"""Poisoned labels and genuine drifts against the gate and the guard, in the full loop."""

from benchmarks.guard.loop import run
from benchmarks.guard.report import main
from benchmarks.guard.streams import family_stream, stream

__all__ = ["family_stream", "main", "run", "stream"]
