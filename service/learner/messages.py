"""Word from other threads of the process to the writer, which alone owns what they tell of."""

from __future__ import annotations

from typing import NamedTuple

from service.drift import Alarm
from service.publishing.publisher import Failed, Finished


class Drifted(NamedTuple):
    """The watcher has raised an alarm."""

    model: str
    alarm: Alarm


Message = Finished | Failed | Drifted
