"""What was done, when, and by whose hand: one hash-chained entry per file."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from model_store.backends.backend import Backend
from model_store.backends.kept import Kept
from model_store.errors import AboveLimit, AuditDamaged, KeyExists, KeyMissing, StoreReadOnly
from model_store.sealed import seal, unseal

GENESIS = "0" * 64
"""What the first entry names as the one before it."""

SHOWN_ITEMS, SHOWN_CHARACTERS = 100, 4000
"""Of a longer list or text an entry holds so much, and a digest of the whole: what it tells of is
an event of the log, which has all of it."""

MAX_ENTRY_BYTES = 1 << 28
"""Read, never written: entries of before these bounds may be long."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One deed.

    ``n`` counts from 1; ``at`` is unix seconds; ``before`` and ``after`` are the version that was
    champion before and after, None where the verb does not move it; ``seq`` is the event of the
    log that the deed is; ``digest`` chains over ``previous``, the digest of the entry before.
    """

    n: int
    at: float
    actor: str
    verb: str
    reason: str
    before: int | None
    after: int | None
    seq: int
    details: dict[str, Any]
    previous: str
    digest: str


class Move(NamedTuple):
    """Of an entry what is kept in memory: who did what at which event, and the champion before and
    after it."""

    n: int
    at: float
    actor: str
    verb: str
    seq: int
    before: int | None
    after: int | None
    previous: str


class AuditTrail:
    """The audit trail of one model: it only ever grows.

    The chain shows an entry that was edited, deleted or put elsewhere. That the last entries were
    cut off it cannot show by itself: the store puts :meth:`head` into every manifest it
    publishes, and verifying a store looks for each of these heads in the trail. Entries after the
    newest manifest's head can be cut off unnoticed, and so can anything by somebody who can
    rewrite the manifests as well; keep a head elsewhere to find that.
    """

    def __init__(self, backend: Backend, folder: str, claim: Kept | None) -> None:
        self._backend, self._folder, self._claim = backend, folder, claim
        self._mutex = threading.Lock()
        self._last: tuple[int, str] | None = None
        # The end of the trail, as far back as somebody has asked.
        self._moves: deque[Move] = deque()
        self._reading = threading.Lock()

    def append(
        self,
        actor: str,
        verb: str,
        reason: str,
        before: int | None,
        after: int | None,
        seq: int,
        at: float | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> AuditEntry:
        """Add an entry, durable on return; ``at`` is now unless it is made up for later.

        Raises
        ------
        StoreReadOnly, ClaimLost
            This process may not write.
        AuditDamaged
            The entry that it would follow is not what was written.
        """
        if self._claim is None:
            raise StoreReadOnly(f"{self._folder}: opened for reading")
        deed = {
            "at": time.time() if at is None else at,
            "actor": actor,
            "verb": verb,
            "reason": _shown(reason),
            "before": before,
            "after": after,
            "seq": seq,
            "details": _shown(dict(details or {})),
            # Two writers never write the same bytes: see S3Backend.
            "nonce": secrets.token_hex(4),
        }
        with self._mutex:
            while True:
                n, previous = self._tip()
                self._claim.check()
                data = seal({**deed, "n": n + 1, "previous": previous})
                try:
                    self._backend.create(self._key(n + 1), data)
                except KeyExists:
                    continue  # another process was first; follow its entry instead
                entry = self._parse(n + 1, data)
                self._last = entry.n, entry.digest
                return entry

    def entries(self) -> list[AuditEntry]:
        """All entries in order.

        Raises
        ------
        AuditDamaged
            An entry is not what was written, or the chain has a gap.
        """
        found: list[AuditEntry] = []
        for n, stored in enumerate(self._numbers(), start=1):
            if stored != n:
                raise AuditDamaged(self._key(n), "an entry", f"none, and entry {stored} after it")
            entry = self._read(n)
            previous = found[-1].digest if found else GENESIS
            if entry.previous != previous:
                raise AuditDamaged(
                    self._key(n), f"to follow {previous}", f"one that follows {entry.previous}"
                )
            found.append(entry)
        return found

    def moves(self) -> Iterator[Move]:
        """Entries from the newest to the oldest, read as far back as is asked for and once.

        Raises
        ------
        AuditDamaged
            An entry is not what was written, or not the one that the entry after it follows.
        """
        with self._reading:
            with self._mutex:
                n, digest = self._tip()
            newer: deque[Move] = deque()
            known = self._moves[-1].n if self._moves else 0
            for each in range(n, known if known else n - 1, -1):
                if each < 1:
                    break
                newer.appendleft(self._move(each, digest))
                digest = newer[0].previous
            self._moves.extend(newer)
        index = len(self._moves) - 1
        position = self._moves[index].n if self._moves else 0
        while position >= 1:
            with self._reading:
                oldest = self._moves[0]
                if position < oldest.n:
                    self._moves.appendleft(self._move(oldest.n - 1, oldest.previous))
                    oldest = self._moves[0]
                move = self._moves[position - oldest.n]
            yield move
            position -= 1

    def _move(self, n: int, digest: str) -> Move:
        entry = self._read(n)
        if entry.digest != digest:
            raise AuditDamaged(self._key(n), f"the entry {digest}", entry.digest)
        return Move(
            n,
            entry.at,
            entry.actor,
            entry.verb,
            entry.seq,
            entry.before,
            entry.after,
            entry.previous,
        )

    def head(self) -> str:
        """Digest of the last entry; of an empty trail, 64 zeros."""
        with self._mutex:
            return self._tip()[1]

    def verify(self) -> list[AuditDamaged]:
        """Everything wrong with the trail: each bad entry, each gap, each broken link.

        Entries are checked one by one, so that one bad file does not hide the next.
        """
        found: list[AuditDamaged] = []
        previous: str | None = GENESIS
        expected = 1
        for n in self._numbers():
            if n != expected:
                found += [
                    AuditDamaged(self._key(gone), "an entry", f"none, and entry {n} after it")
                    for gone in range(expected, n)
                ]
                previous = None  # the link over the gap cannot be checked
            expected = n + 1
            try:
                entry = self._read(n)
            except AuditDamaged as error:
                found.append(error)
                previous = None
                continue
            if previous is not None and entry.previous != previous:
                found.append(
                    AuditDamaged(
                        self._key(n), f"to follow {previous}", f"one that follows {entry.previous}"
                    )
                )
            previous = entry.digest
        return found

    def at(self, moment: float) -> AuditEntry | None:
        """The entry that made the champion of that unix time, its version in ``after``."""
        for move in self.moves():
            if move.at <= moment and move.after is not None:
                return self._read(move.n)
        return None

    def heads(self) -> set[str]:
        """Digests of all readable entries, and of the empty trail."""
        found = {GENESIS}
        for n in self._numbers():
            try:
                found.add(self._read(n).digest)
            except AuditDamaged:
                continue  # verify names it
        return found

    def _tip(self) -> tuple[int, str]:
        """Number and digest of the last entry. After the first look only newer ones are read."""
        if self._last is None:
            numbers = self._numbers()
            self._last = (numbers[-1], self._read(numbers[-1]).digest) if numbers else (0, GENESIS)
        n, digest = self._last
        while True:
            try:
                entry = self._parse(n + 1, self._get(n + 1))
            except KeyMissing:
                break
            n, digest = entry.n, entry.digest
        self._last = n, digest
        return self._last

    def _numbers(self) -> list[int]:
        names = self._backend.children(self._folder)
        return sorted(int(n[:-5]) for n in names if n.endswith(".json") and n[:-5].isdigit())

    def _key(self, n: int) -> str:
        return f"{self._folder}/{n:08d}.json"

    def _read(self, n: int) -> AuditEntry:
        try:
            return self._parse(n, self._get(n))
        except KeyMissing as cause:
            raise AuditDamaged(self._key(n), "an entry", "none") from cause

    def _get(self, n: int) -> bytes:
        try:
            return self._backend.get(self._key(n), MAX_ENTRY_BYTES)
        except AboveLimit as cause:
            raise AuditDamaged(self._key(n), "an entry of bounded size", str(cause)) from cause

    def _parse(self, n: int, data: bytes) -> AuditEntry:
        key = self._key(n)
        value = unseal(data, key, AuditDamaged)
        if value.get("n") != n:
            raise AuditDamaged(key, f"entry {n}", f"entry {value.get('n')}")
        value.pop("nonce", None)
        try:
            return AuditEntry(**value)
        except TypeError as cause:
            raise AuditDamaged(key, "the fields of an entry", ", ".join(sorted(value))) from cause


def _shown(value: Any) -> Any:
    """The value with every long list and text in it cut short."""
    match value:
        case str() if len(value) > SHOWN_CHARACTERS:
            digest = hashlib.sha256(value.encode()).hexdigest()
            return f"{value[:SHOWN_CHARACTERS]}… ({len(value)} characters, sha256 {digest})"
        case list() | tuple() if len(value) > SHOWN_ITEMS:
            whole = json.dumps(value, separators=(",", ":")).encode()
            return {
                "first": [_shown(item) for item in value[:SHOWN_ITEMS]],
                "items": len(value),
                "sha256": hashlib.sha256(whole).hexdigest(),
            }
        case list() | tuple():
            return [_shown(item) for item in value]
        case dict():
            return {key: _shown(item) for key, item in value.items()}
        case _:
            return value
