"""A configuration of one model with so many sensors, for what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

APICAL_TOML = """
[storage]
store = {store}
log = {log}

[[models]]
name = "{name}"
classes = {classes}
{model}
"""
FEATURE = """[[models.features]]
name = "sensor_{index}"
range = [-{reach}, {reach}]
"""


def configured(
    folder: Path, name: str, classes: Sequence[str], sensors: int, model: str, reach: int = 5
) -> Path:
    """Write `apical.toml` into ``folder``, where store and log lie too. ``model`` is what else its
    table says; readings go from ``-reach`` to ``reach``."""
    path = folder / "apical.toml"
    places = {place: repr(str(folder / place)) for place in ("store", "log")}
    text = APICAL_TOML.format(**places, name=name, classes=list(classes), model=model)
    features = "".join(FEATURE.format(index=index, reach=reach) for index in range(sensors))
    path.write_text(text + features)
    return path
