"""A backend whose operations somebody counts and times."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, cast

from model_store.backends.backend import Backend
from model_store.errors import StoreUnavailable

Told = Callable[[str, float, bool], None]
"""Operation, seconds, and whether the disk or the bucket failed."""

TIMED = (
    "get", "get_tagged", "get_changed", "create", "replace", "publish", "published", "unfinished",
    "children", "list", "size", "delete", "remove", "move",
)  # fmt: skip


def measured(backend: Backend, told: Told) -> Backend:
    """The same backend, which tells ``told`` of each operation."""
    return cast(Backend, _Measured(backend, told))


class _Measured:
    def __init__(self, backend: Backend, told: Told) -> None:
        self._backend = backend
        for operation in TIMED:
            setattr(self, operation, _timed(operation, getattr(backend, operation), told))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def _timed(operation: str, call: Callable[..., Any], told: Told) -> Callable[..., Any]:
    @functools.wraps(call)
    def timed(*arguments: Any, **more: Any) -> Any:
        started, failed = time.perf_counter(), False
        try:
            return call(*arguments, **more)
        except StoreUnavailable:
            failed = True
            raise
        finally:
            told(operation, time.perf_counter() - started, failed)

    return timed
