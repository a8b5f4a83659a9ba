"""The keys of a file as they stand now: who is added or revoked there is so here in a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import structlog

from service.access.keys import Key, id_of, is_it, read
from service.errors import ConfigurationError

log = structlog.get_logger()

LOOK_S = 1.0
"""Seconds between two looks at the file."""


class Keyring:
    """Looks keys up.

    A file that cannot be read later on changes nothing: a mistake in it must not stop a line. That
    is logged as an error, once for each change of the file.

    Parameters
    ----------
    path
        Written by `service.access.keys`.
    clock
        Seconds that never go back.

    Raises
    ------
    ConfigurationError
        The file cannot be read, or no key in it is in use.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._looked = clock()
        self._seen = self._mark()
        self._keys = {key.id: key for key in read(path)}
        if all(key.revoked_at is not None for key in self._keys.values()):
            raise ConfigurationError(
                f"{path}: expected at least one key that is not revoked, found none; "
                "`apical keys add` makes one"
            )

    def find(self, presented: str) -> Key | None:
        """The key that was presented, also if it is revoked; None for one that is not known."""
        if self._clock() - self._looked >= LOOK_S:
            self._look()
        key_id = id_of(presented)
        key = self._keys.get(key_id) if key_id is not None else None
        return key if is_it(presented, key) else None

    def _look(self) -> None:
        self._looked = self._clock()
        mark = self._mark()
        if mark == self._seen:
            return
        self._seen = mark
        try:
            self._keys = {key.id: key for key in read(self._path)}
        except ConfigurationError as error:
            log.error("keys not read; those known before go on", error=str(error))
        else:
            log.info("keys read again", keys=len(self._keys))

    def _mark(self) -> tuple[int, ...] | None:
        """What is another where the file is another."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size
