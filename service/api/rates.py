"""How much one key may ask in a second."""

from __future__ import annotations

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from service.access.keys import Key
from service.config.limits import Limits
from service.errors import TooOften


class Rates:
    """Requests and rows of each key; nobody else is counted. Not for several threads."""

    def __init__(self, limits: Limits) -> None:
        self._window = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._requests = RateLimitItemPerSecond(limits.requests_per_s)
        self._rows = RateLimitItemPerSecond(limits.rows_per_s)

    def request(self, key: Key | None) -> None:
        """One request more; raises TooOften."""
        if key is not None and not self._window.hit(self._requests, "requests", key.id):
            self._refuse(key, self._requests, "requests")

    def rows(self, key: Key | None, count: int) -> None:
        """Rows more, of one request; raises TooOften, and then they do not count."""
        if key is None:
            return
        # More than there are in a second, as labels for unknown rows may be, waits for a whole one.
        cost = min(count, self._rows.amount)
        if not self._window.hit(self._rows, "rows", key.id, cost=cost):
            self._refuse(key, self._rows, "rows")

    def _refuse(self, key: Key, limit: RateLimitItemPerSecond, what: str) -> None:
        raise TooOften(
            f"key {key.name!r}: expected at most {limit.amount} {what} a second "
            f"({what}_per_s of [limits]), found more"
        )
