"""Holding the write side of a store for long: saying that its holder lives, noticing its loss."""

from __future__ import annotations

import threading
from collections.abc import Callable

from model_store.backends.backend import Claim
from model_store.errors import ClaimLost

RENEW_S = 5.0


class Kept:
    """A claim that a thread renews until it is released or lost.

    Parameters
    ----------
    claim
        Just taken.
    """

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self.token, self.taken_over = claim.token, claim.taken_over
        self._tell: Callable[[ClaimLost], None] = lambda error: None
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="claim", daemon=True)
        self._thread.start()

    def when_lost(self, tell: Callable[[ClaimLost], None]) -> None:
        """Have ``tell`` called, on a thread of its own, once its loss is noticed."""
        self._tell = tell

    def check(self) -> None:
        """Raises ClaimLost."""
        self._claim.check()

    def release(self) -> None:
        """Let go; harmless when it was lost or released before."""
        self._released.set()
        # A renewal that comes behind the release would undo it; one that hangs is not waited for.
        self._thread.join(RENEW_S)
        self._claim.release()

    def _renew(self) -> None:
        while not self._released.wait(RENEW_S):
            try:
                self._claim.renew()
            except ClaimLost as error:
                if not self._released.is_set():
                    self._tell(error)
                return
            # Whatever one try met, the next may not: a holder that falls silent loses its claim.
            except Exception:
                continue
