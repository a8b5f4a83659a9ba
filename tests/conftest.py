"""Logs of servers in the test's own process go to standard error, as they do in production, and
with plain tracebacks: rich ones take a second each."""

from __future__ import annotations

import sys

import structlog


class _Stderr:
    """Looks standard error up anew each time: pytest replaces it for every test."""

    def msg(self, message: str) -> None:
        print(message, file=sys.stderr)

    debug = info = warning = error = msg


structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=True),
        structlog.processors.format_exc_info,
        structlog.dev.ConsoleRenderer(colors=False),
    ],
    logger_factory=lambda *args: _Stderr(),
    cache_logger_on_first_use=False,
)
