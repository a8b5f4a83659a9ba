"""The write side of a store in a bucket, where no kernel lets go of a dead process's lock."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Mapping
from typing import Any, Protocol

from model_store.errors import (
    ClaimLost,
    Conflict,
    Damaged,
    KeyExists,
    KeyMissing,
    StoreLocked,
)
from model_store.sealed import seal, unseal

CLAIM = "claim.json"

PATIENCE_S = 20.0
"""A claim that was not renewed for so long, by the clock of whoever waits, has lost its holder."""

LOOK_S = 0.5


class Swapped(Protocol):
    """What a claim needs of a bucket: compare-and-swap."""

    def get_tagged(self, key: str) -> tuple[bytes, str]: ...

    def create(self, key: str, data: bytes) -> None: ...

    def replace(self, key: str, data: bytes, tag: str) -> None: ...


class Lease:
    """The write side, held as an object that names its holder, changed by compare-and-swap.

    Its holder renews it. Whoever wants it and finds it held looks on for a while: a claim that
    changes has a living holder; one that does not is taken over, and a holder that was only slow
    finds out by its next renewal or change. No two machines' clocks are compared.

    Parameters
    ----------
    name
        Of the claim, for people.
    take_over
        Take it at once, whoever holds it.

    Raises
    ------
    StoreLocked
        Its holder lives.
    """

    def __init__(self, bucket: Swapped, name: str, take_over: bool) -> None:
        self._bucket, self._name = bucket, name
        self.token = secrets.token_hex(8)
        self.taken_over = False
        generation, tag = 1, None
        try:
            data, tag = bucket.get_tagged(CLAIM)
        except KeyMissing:
            pass
        else:
            try:
                now = unseal(data, name)
            except Damaged:
                if not take_over:
                    raise
                now = {"generation": 0, "released": False}
            self.taken_over = not now["released"]
            if self.taken_over and not take_over:
                self._await_death(now, tag)
            generation = now["generation"] + 1
        self._value: dict[str, Any] = {
            "generation": generation,
            "token": self.token,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "claimed_at": time.time(),
            "released": False,
            "renewed": 0,
        }
        try:
            if tag is None:
                bucket.create(CLAIM, seal(self._value))
            else:
                bucket.replace(CLAIM, seal(self._value), tag)
        except (KeyExists, Conflict) as cause:
            raise StoreLocked(f"{name}: another process took it at the same moment") from cause

    def renew(self) -> None:
        self._value = {**self._value, "renewed": self._value["renewed"] + 1}
        # Whoever took it in between is found by the next look.
        with contextlib.suppress(Conflict):
            self._bucket.replace(CLAIM, seal(self._value), self._mine())

    def check(self) -> None:
        self._mine()

    def release(self) -> None:
        # Somebody else's by now, which is what letting go is for.
        with contextlib.suppress(ClaimLost, Conflict, Damaged):
            self._bucket.replace(CLAIM, seal({**self._value, "released": True}), self._mine())

    def _mine(self) -> str:
        """The tag of the claim, which is still this process's; raises ClaimLost."""
        try:
            data, tag = self._bucket.get_tagged(CLAIM)
        except KeyMissing as cause:
            raise ClaimLost(f"{self._name}: expected this process's claim, found none") from cause
        now = unseal(data, self._name)
        if now.get("token") != self.token:
            raise ClaimLost(_holder(self._name, now))
        if now["released"]:
            raise ClaimLost(f"{self._name}: this process has let go of the store")
        return tag

    def _await_death(self, found: Mapping[str, Any], tag: str) -> None:
        held = StoreLocked(f"{_holder(self._name, found)}; stop it first, or take the store over")
        # A version before leases: nothing tells whether its holder lives.
        if "renewed" not in found:
            raise held
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            time.sleep(LOOK_S)
            try:
                _, now = self._bucket.get_tagged(CLAIM)
            except KeyMissing:
                raise held from None
            if now != tag:
                raise held


def _holder(name: str, claim: Mapping[str, Any]) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(claim.get("claimed_at", 0)))
    return (
        f"{name}: process {claim.get('pid')} on {claim.get('host')} has this store open for "
        f"writing since {since}, generation {claim.get('generation')}"
    )
