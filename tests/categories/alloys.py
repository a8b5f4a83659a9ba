"""A line that casts: two numbers and the alloy, and it is the alloy that tells what goes bad."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.config.file import parse
from service.config.process import Configuration

ALLOYS = ("AlSi9", "AlSi12", "鋼")
MODEL = "cast"

WRITTEN = """
[storage]
store = {store}
log = {log}
{top}
[[models]]
name = "cast"
classes = ["ok", "scrap"]
hidden = [6]
promotion = "immediate"
guard = "off"
snapshot_every_s = 3600.0
{model}
[[models.features]]
name = "temp"
unit = "°C"
range = [600, 800]
[[models.features]]
name = "alloy"
kind = "category"
values = ["AlSi9", "AlSi12", "鋼"]
{alloy}
[[models.features]]
name = "pressure"
range = [0, 10]
"""


def casting(folder: Path, *, top: str = "", model: str = "", alloy: str = "") -> Configuration:
    """The model, stored below ``folder``."""
    store, log = repr(str(folder / "store")), repr(str(folder / "log"))
    return parse(WRITTEN.format(store=store, log=log, top=top, model=model, alloy=alloy))


def row(index: int) -> dict[str, float | str | None]:
    """A part; every eleventh says no alloy."""
    return {
        "temp": 650.0 + index * 37 % 100,
        "alloy": None if index % 11 == 10 else ALLOYS[index * 7 % 3],
        "pressure": index * 61 % 100 / 10,
    }


def label(index: int) -> str:
    return "scrap" if row(index)["alloy"] == "AlSi12" else "ok"


def drawn(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Rows as the log has them, a tenth of the readings missing."""
    rng = np.random.default_rng(seed)
    rows = np.stack(
        [rng.uniform(600, 800, count), rng.integers(0, 3, count), rng.uniform(0, 10, count)], 1
    ).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    return rows
