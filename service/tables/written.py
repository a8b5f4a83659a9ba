"""The `apical.toml` for a file: a comment for each choice."""

from __future__ import annotations

import json
import math

from service.tables.described import Described, Sensor

HEAD = """# Apical's configuration for {file}, written by `apical init`.
# Look through it: what is guessed says so. docs/configuration.md lists all keys.

[server]
host = "127.0.0.1"
port = 8080

[storage]
store = "apical-data/store"    # snapshots, aliases, audit trail
log = "apical-data/log"        # every labelled event

[[models]]
name = {name}
{shown}classes = {classes}   # {counts}
members = ["gain", "sgd", "linear"]   # local rules, mixed by what each is worth on this line
hidden = [64]
snapshot_every_rows = 1000
snapshot_every_s = 300.0
"""


def toml(file: str, name: str, described: Described, display_name: str | None = None) -> str:
    """The whole text; ``name`` is the model's, ``display_name`` what people call it."""
    counts = ", ".join(f"{label}: {n} rows" for label, n in described.classes.items())
    parts = [
        HEAD.format(
            file=_line(file),
            name=_text(name),
            shown="" if display_name is None else f"display_name = {_text(display_name)}\n",
            classes=_text(sorted(described.classes)),
            counts=_line(counts),
        )
    ]
    if described.left_out:
        parts.append("\n# Left out:\n")
        parts += [f"#   {_line(n)}: {_line(w)}\n" for n, w in described.left_out.items()]
    parts += [_feature(sensor) for sensor in described.sensors]
    return "".join(parts)


def _feature(sensor: Sensor) -> str:
    if sensor.values:
        return f"""
[[models.features]]
name = {_text(sensor.name)}
kind = "category"              # a text that comes again; a value that is none of these is missing
values = {_text(sensor.values)}   # {_line(sensor.why)}
"""
    low, high = _round(sensor.low, sensor.high)
    return f"""
[[models.features]]
name = {_text(sensor.name)}
unit = ""                      # to be filled in
range = [{low!r}, {high!r}]    # {_line(sensor.why)}, and headroom
"""


def _round(low: float, high: float) -> tuple[float, float]:
    """Outwards, to three digits of what they span."""
    places = 2 - math.floor(math.log10(high - low))
    step = 10.0**-places
    # Rounded once more: a multiple of 0.1 is no decimal of one digit by itself.
    return (
        round(math.floor(low / step) * step, max(places, 0)),
        round(math.ceil(high / step) * step, max(places, 0)),
    )


def _text(value: object) -> str:
    # A JSON string or list of strings is a TOML one too.
    return json.dumps(value, ensure_ascii=False)


def _line(text: str) -> str:
    """In a comment: what would end it, or is no character of TOML, is written out."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
