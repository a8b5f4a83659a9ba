"""Reading `apical.toml`, with errors that name the key, what was expected and what was found."""

from __future__ import annotations

import codecs
import difflib
import tomllib
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError

from service.config.limits import Limits
from service.config.model import Feature, Model
from service.config.process import Configuration, Drift, Server, Storage
from service.errors import ConfigurationError

TABLES: dict[str, type[BaseModel]] = {
    "server": Server,
    "storage": Storage,
    "limits": Limits,
    "drift": Drift,
    "models": Model,
    "features": Feature,
}


def load(path: Path) -> Configuration:
    """Read and check a configuration file.

    Raises
    ------
    ConfigurationError
        The file is missing, no TOML, or a key is unknown, absent or out of bounds; the message
        names file, key, what was expected and what was found.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: expected a configuration file, found none; "
            "`apical init` writes one to start from"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: expected a configuration file: {error}") from error
    try:
        # Editors on Windows put a byte order mark before UTF-8.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        line = data.count(b"\n", 0, error.start) + 1
        found = "UTF-16" if wide else f"byte 0x{data[error.start]:02x} in line {line}"
        raise ConfigurationError(f"{path}: expected a file in UTF-8, found {found}") from error
    return parse(text, str(path))


def parse(text: str, where: str = "apical.toml") -> Configuration:
    """`load` for a text in hand; ``where`` names it in errors."""
    try:
        return Configuration.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{where}: expected TOML, found {error}") from error
    except ValidationError as error:
        raise ConfigurationError("\n".join(_said(where, error))) from error


def _said(where: str, error: ValidationError) -> Iterator[str]:
    """Each fault in the words of the file."""
    faults = error.errors()
    inside = {tuple(fault["loc"][: len(fault["loc"]) - 1]) for fault in faults}
    for fault in faults:
        loc = fault["loc"]
        # A list is "too short" for pydantic when its items are wrong; those are told.
        if fault["type"] == "too_short" and any(each[: len(loc)] == loc for each in inside):
            continue
        if fault["type"] == "extra_forbidden":
            yield f"{where}: {_unknown(loc)}"
            continue
        key = ".".join(str(part) for part in loc) or "the file"
        found = "" if fault["type"] in ("missing", "value_error") else f", found {fault['input']!r}"
        yield f"{where}: {key}: {fault['msg']}{found}"


def _unknown(loc: tuple[int | str, ...]) -> str:
    """A key that there is not, and the one that was probably meant."""
    table: type[BaseModel] = Configuration
    for part in loc[:-1]:
        if isinstance(part, str):
            table = TABLES.get(part, table)
    words = [str(part) for part in loc[:-1] if isinstance(part, str)]
    place = ".".join(words)
    name = f"[[{place}]]" if place in ("models", "models.features") else f"[{place}]"
    numbers = [part + 1 for part in loc if isinstance(part, int)]
    which = f" number {numbers[-1]}" if numbers else ""
    near = difflib.get_close_matches(str(loc[-1]), table.model_fields, 1)
    hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(table.model_fields)}"
    return f"{name if place else 'the file'}{which} has no key {loc[-1]}{hint}"
