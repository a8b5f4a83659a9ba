"""Times as people say them: ``03:12``, ``2h ago``, RFC 3339; and how long: ``10m``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from service.cli.said import say

AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|days?|hours?|minutes?|seconds?)\s+ago")
LASTING = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)")
CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LOCAL = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d")


def moment(text: str, now: datetime) -> datetime:
    """The time that is meant, in UTC; ``now`` has a zone, in which times without one are read.

    A clock time is the last one that there was: ``23:00`` said at 03:00 is yesterday's. Raises
    ValueError.
    """
    said = text.strip()
    ago = AGO.fullmatch(said.lower())
    if ago:
        return (now - timedelta(seconds=float(ago[1]) * SECONDS[ago[2][0]])).astimezone(UTC)
    clock = CLOCK.fullmatch(said)
    if clock:
        hour, minute, second = (int(part or 0) for part in clock.groups())
        found = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
        return (found if found <= now else found - timedelta(days=1)).astimezone(UTC)
    for form in LOCAL:
        try:
            return datetime.strptime(said, form).replace(tzinfo=now.tzinfo).astimezone(UTC)
        except ValueError:
            continue
    found = datetime.fromisoformat(said)
    if found.tzinfo is None:
        found = found.replace(tzinfo=now.tzinfo)
    return found.astimezone(UTC)


class Moment(click.ParamType):  # type: ignore[type-arg]
    """A time; it is handed on in RFC 3339, and said in UTC where it was not written so."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        now = datetime.now().astimezone()
        try:
            found = moment(str(value), now)
        except ValueError:
            self.fail(
                f"expected such as 03:12, '2h ago', '2026-03-01 03:12' or 2026-03-01T03:12:00Z, "
                f"found {str(value)[:60]!r}",
                param,
                ctx,
            )
        said = f"{found:%Y-%m-%dT%H:%M:%S}Z"
        if str(value) != said:
            say(f"{param.opts[0] if param else 'time'}: {said}", err=True)
        return said


class _Delay(click.ParamType):  # type: ignore[type-arg]
    """So many batches, or a time such as 90s, 10m, 2h or 1d."""

    name = "delay"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from service.tables.delay import Delay

        said = str(value).strip().lower()
        if said.isdecimal():
            return Delay(batches=int(said))
        time = LASTING.fullmatch(said)
        if time is None:
            self.fail(
                f"expected batches such as 3, or a time such as 90s, 10m, 2h or 1d, found "
                f"{str(value)[:60]!r}",
                param,
                ctx,
            )
        return Delay(seconds=float(time[1]) * SECONDS[time[2][0]])


MOMENT = Moment()
DELAY = _Delay()
