"""What the bridges' configurations share: strict tables, and errors that name the key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class Table(BaseModel):
    """No key that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Learner(Table):
    """Who learns, whose line it is, and the file in which rows wait. The key of the API is that in
    the environment variable ``APICAL_KEY``."""

    url: str = "http://127.0.0.1:8080"
    model: str
    line: str | None = None
    spool: str = "bridge.spool"


Whole = TypeVar("Whole", bound=Table)


def load(path: Path, table: type[Whole]) -> Whole:
    """Read a configuration; raises OSError, and ValueError, which names key, expected and found."""
    try:
        return table.model_validate(tomllib.loads(path.read_text("utf-8")))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ValueError(f"{path}: " + "; ".join(lines)) from None
