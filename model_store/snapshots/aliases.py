"""Names that point at versions, moved by compare-and-swap on a generation."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from model_store.backends.backend import Backend, check_name, is_name
from model_store.backends.kept import Kept
from model_store.errors import AliasConflict, AliasDamaged, Conflict, KeyExists, KeyMissing
from model_store.sealed import seal, unseal


@dataclass(frozen=True, slots=True)
class Alias:
    """Where a name points.

    ``generation`` counts its changes from 1, ``seq`` is the event that moved it, ``updated_at``
    is unix seconds; a pinned one is held there by an operator.
    """

    name: str
    version: int
    generation: int
    updated_at: float
    pinned: bool
    seq: int


class Aliases:
    """The aliases of one model. Polling one costs one small read, in a bucket one answer of 304."""

    def __init__(self, backend: Backend, folder: str, claim: Kept | None) -> None:
        self._backend, self._folder, self._claim = backend, folder, claim
        self._seen: dict[str, tuple[str, Alias | None]] = {}

    def names(self) -> list[str]:
        """Names of all that were ever set."""
        found = (name.removesuffix(".json") for name in self._backend.children(self._folder))
        return [name for name in found if is_name(name) and self.get(name) is not None]

    def get(self, name: str) -> Alias | None:
        """Raises AliasDamaged."""
        key = self._key(name)
        tag, known = self._seen.get(name, (None, None))
        try:
            found = self._backend.get_changed(key, tag)
        except KeyMissing:
            self._seen.pop(name, None)
            return None
        if found is None:
            return known
        alias = _parse(name, found[0], key)
        self._seen[name] = found[1], alias
        return alias

    def set(
        self,
        name: str,
        version: int,
        *,
        generation: int,
        seq: int,
        pinned: bool = False,
        repair: bool = False,
    ) -> Alias:
        """Point a name at a version; ``generation`` is what the caller believes, 0 for not there.

        Raises
        ------
        AliasConflict
            It is another one by now; the message names both.
        AliasDamaged
            Its bytes are not what was written; ``repair`` writes over them.
        ClaimLost
            Another process has the write side.
        """
        assert self._claim is not None
        key = self._key(name)
        if generation == 0:
            # An empty place first, so that whoever takes the claim over finds it and changes it:
            # then the compare-and-swap below fails for a process that has lost its claim.
            self._place(key)
        try:
            data, tag = self._backend.get_tagged(key)
        except KeyMissing as cause:
            raise AliasConflict(
                f"{key}: expected generation {generation}, found no such alias"
            ) from cause
        try:
            now = _parse(name, data, key)
            found = 0 if now is None else now.generation
        except AliasDamaged:
            if not repair:
                raise
            found = generation
        if found != generation:
            raise AliasConflict(f"{key}: expected generation {generation}, found {found}")
        self._claim.check()
        alias = Alias(name, version, generation + 1, time.time(), pinned, seq)
        try:
            self._backend.replace(key, self._seal(alias), tag)
        except Conflict as cause:
            self._claim.check()
            after = self.get(name)
            raise AliasConflict(
                f"{key}: expected generation {generation}, found "
                f"{0 if after is None else after.generation}"
            ) from cause
        return alias

    def fence(self) -> None:
        """Change the bytes of every alias and nothing else, so that a swap begun under an older
        claim fails."""
        for child in self._backend.children(self._folder):
            name = child.removesuffix(".json")
            if not is_name(name):
                continue
            while True:
                data, tag = self._backend.get_tagged(self._key(name))
                try:
                    alias = _parse(name, data, self._key(name))
                except AliasDamaged:
                    break  # nobody can swap on it either; verify names it
                try:
                    self._backend.replace(self._key(name), self._seal(alias), tag)
                    break
                except Conflict:
                    continue  # the older holder's last swap came first; fence what it wrote

    def _key(self, name: str) -> str:
        return f"{self._folder}/{check_name(name, 'alias')}.json"

    def _place(self, key: str) -> None:
        assert self._claim is not None
        self._claim.check()
        try:
            self._backend.create(key, self._seal(None))
        except KeyExists:
            return  # the generation inside decides

    def _seal(self, alias: Alias | None) -> bytes:
        assert self._claim is not None
        return seal(
            {
                "version": 0 if alias is None else alias.version,
                "generation": 0 if alias is None else alias.generation,
                "updated_at": 0.0 if alias is None else alias.updated_at,
                "pinned": alias is not None and alias.pinned,
                "seq": 0 if alias is None else alias.seq,
                # Two writers never write the same bytes: see S3Backend.
                "claim": self._claim.token,
                "nonce": secrets.token_hex(4),
            }
        )


def _parse(name: str, data: bytes, key: str) -> Alias | None:
    value = unseal(data, key, AliasDamaged)
    try:
        if value["generation"] == 0:
            return None
        return Alias(
            name,
            value["version"],
            value["generation"],
            value["updated_at"],
            value["pinned"],
            value["seq"],
        )
    except KeyError as cause:
        raise AliasDamaged(key, f"a field {cause}", "none") from cause
