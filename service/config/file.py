"""Reading `apical.toml`, with errors that name the key, what was expected and what was found."""

from __future__ import annotations

import codecs
import tomllib
from pathlib import Path

from pydantic import ValidationError

from service.config.process import Configuration
from service.errors import ConfigurationError


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
        lines = []
        faults = error.errors()
        inside = {tuple(fault["loc"][: len(fault["loc"]) - 1]) for fault in faults}
        for fault in faults:
            # A list is "too short" for pydantic when its items are wrong; those are told.
            if fault["type"] == "too_short" and any(
                loc[: len(fault["loc"])] == fault["loc"] for loc in inside
            ):
                continue
            key = ".".join(str(part) for part in fault["loc"]) or "the file"
            found = (
                "" if fault["type"] in ("missing", "value_error") else f", found {fault['input']!r}"
            )
            lines.append(f"{where}: {key}: {fault['msg']}{found}")
        raise ConfigurationError("\n".join(lines)) from error
