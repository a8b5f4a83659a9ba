"""What was done, when, and by whose hand: one hash-chained entry per file."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model_store.backends.backend import Backend, Claim
from model_store.errors import AuditDamaged, KeyExists, KeyMissing, StoreReadOnly
from model_store.sealed import seal, unseal

GENESIS = "0" * 64
"""What the first entry names as the one before it."""


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


class AuditTrail:
    """The audit trail of one model: it only ever grows.

    The chain shows an entry that was edited, deleted or put elsewhere. That the last entries were
    cut off it cannot show by itself: the store puts :meth:`head` into every manifest it
    publishes, and verifying a store looks for each of these heads in the trail. Entries after the
    newest manifest's head can be cut off unnoticed, and so can anything by somebody who can
    rewrite the manifests as well; keep a head elsewhere to find that.
    """

    def __init__(self, backend: Backend, folder: str, claim: Claim | None) -> None:
        self._backend, self._folder, self._claim = backend, folder, claim
        self._mutex = threading.Lock()
        self._last: tuple[int, str] | None = None

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
            "reason": reason,
            "before": before,
            "after": after,
            "seq": seq,
            "details": dict(details or {}),
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
        live = [e for e in self.entries() if e.at <= moment and e.after is not None]
        return live[-1] if live else None

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
                entry = self._parse(n + 1, self._backend.get(self._key(n + 1)))
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
            return self._parse(n, self._backend.get(self._key(n)))
        except KeyMissing as cause:
            raise AuditDamaged(self._key(n), "an entry", "none") from cause

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
