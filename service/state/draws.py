"""Numbers that look random, by a stated hash: whoever replays a log, in whatever language, draws
alike; no library's generator has a part in it."""

from __future__ import annotations

PRIME = 2**31 - 1
FACTOR = 48271
SHIFT = 1013904223


def mixed(value: int) -> int:
    """(48271 x + 1013904223)^5 modulo 2^31 - 1. Every product fits 64 bits."""
    x = (value % PRIME * FACTOR + SHIFT) % PRIME
    square = x * x % PRIME
    return square * square % PRIME * x % PRIME


def drawn(seed: int, step: int, k: int) -> int:
    """A number in [0, 2^31 - 1): mixed(mixed(mixed(seed) + step) + k)."""
    value = 0
    for part in (seed, step, k):
        value = mixed(value + part % PRIME)
    return value
