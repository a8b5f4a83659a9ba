"""What the snapshot store needs of a place that keeps bytes under keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Protocol

MANIFEST = "manifest.json"
SMALL_BYTES = 4 << 20  # bound on manifests, aliases, audit entries and other small objects

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_name(text: object) -> bool:
    """Whether this may be one part of a key: no separator, no leading dot, nothing exotic."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def check_name(text: str, what: str) -> str:
    """The name itself.

    Raises
    ------
    ValueError
        It cannot be part of a key.
    """
    if not is_name(text):
        raise ValueError(
            f"{what} {text!r}: expected 1 to 128 letters, digits, '.', '_' or '-', "
            "the first one a letter or digit"
        )
    return text


class Claim(Protocol):
    """The write side of a store, held by one process."""

    token: str
    """Differs between any two claims."""

    taken_over: bool
    """The one before did not let go of it, and may still be running."""

    def renew(self) -> None:
        """Say that its holder lives; raise ClaimLost if somebody else holds it now."""

    def check(self) -> None:
        """Raise ClaimLost if somebody else holds the write side now."""

    def release(self) -> None:
        """Let go; harmless when it was lost or released before."""


class Backend(Protocol):
    """Bytes under '/'-joined keys. Whatever returns has made its change durable.

    Every method may raise StoreUnavailable: the disk or the bucket failed.
    """

    def get(self, key: str, limit: int = SMALL_BYTES) -> bytes:
        """The bytes under a key. Raises KeyMissing, or AboveLimit above ``limit`` bytes."""

    def get_tagged(self, key: str, limit: int = SMALL_BYTES) -> tuple[bytes, str]:
        """The same, with a tag that changes whenever the bytes do."""

    def get_changed(
        self, key: str, tag: str | None, limit: int = SMALL_BYTES
    ) -> tuple[bytes, str] | None:
        """The same, or None while the tag is still this one. Made to be polled."""

    def create(self, key: str, data: bytes) -> None:
        """Put if absent. Raises KeyExists."""

    def replace(self, key: str, data: bytes, tag: str) -> None:
        """Compare and swap. Raises Conflict if the tag is another by now, or the key is gone."""

    def publish(
        self,
        prefix: str,
        files: Mapping[str, bytes],
        before_commit: Callable[[], None] = lambda: None,
    ) -> None:
        """Put all files, ``manifest.json`` among them, under the prefix, or none of them.

        ``before_commit`` runs when everything is written and nothing is visible yet; what it
        raises abandons the publication. Raises KeyExists.
        """

    def published(self, prefix: str) -> list[str]:
        """Names of what has been published under the prefix, sorted."""

    def unfinished(self, prefix: str) -> list[str]:
        """Names of what a crash left half-published under the prefix, sorted."""

    def void(self, path: str) -> bool:
        """Make sure that an unfinished publication never becomes visible; False if it has."""

    def children(self, prefix: str) -> list[str]:
        """The distinct next parts of all keys under the prefix, sorted."""

    def top(self) -> list[str]:
        """All names at the top, hidden ones too, but for the claim and what is temporary."""

    def list(self, prefix: str) -> list[str]:
        """All keys under the prefix, sorted."""

    def size(self, key: str) -> int:
        """Length in bytes. Raises KeyMissing."""

    def delete(self, key: str) -> None:
        """Remove one key. Raises KeyMissing."""

    def remove(self, prefix: str) -> None:
        """Remove everything under the prefix; what was published vanishes first of all."""

    def move(self, source: str, target: str) -> None:
        """Move everything under one prefix to another, which must be empty."""

    def claim(self, take_over: bool) -> Claim:
        """Take the write side. Raises StoreLocked, naming who holds it."""

    def tidy(self) -> None:
        """Remove temporary objects that a crash left. Only for the holder of the claim."""

    def close(self) -> None:
        """Let go of connections and descriptors."""
