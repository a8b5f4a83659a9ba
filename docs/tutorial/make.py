"""Write the files of the tutorial: `python docs/tutorial/make.py`. The same at every run.

A press for a day, a row a minute: readings that go up and down slowly, some missing, now and then
an error code, and a die that is worn or not. Then a night, in one hour of which somebody mixed the
labels up.
"""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
HEADER = ["time", "part", "shift", "temp", "vibration", "current", "pressure", "state"]
DAY, NIGHT, BAD = 1440, 480, range(180, 240)


def rows(start: datetime, count: int, first: int, seed: int, bad: range) -> list[list[str]]:
    """``bad``: of which rows the labels are the wrong ones."""
    draw = np.random.default_rng(seed)
    slow, written = draw.normal(size=4), []
    for k in range(count):
        slow = 0.9 * slow + np.sqrt(1 - 0.9**2) * draw.normal(size=4)
        temp, vibration, current, pressure = slow
        worn = temp + 0.8 * vibration - 0.6 * current**2 + 0.15 * draw.normal() > 0.1
        cells = [
            f"{72 + 6 * temp:.1f}",
            f"{4 + 1.2 * vibration:.2f}",
            f"{18 + 2 * current:.2f}",
            f"{6 + 0.3 * pressure:.3f}",
        ]
        for place in range(4):
            chance = draw.random()
            if chance < 0.01:
                cells[place] = ""
            elif chance < 0.0125:
                cells[place] = "9999"
        at = start + timedelta(minutes=k)
        shift = ("night", "early", "late")[at.hour // 8]
        if k in bad:
            worn = not worn
        state = "worn" if worn else "ok"
        written.append([f"{at:%Y-%m-%d %H:%M:%S}", f"P{first + k:06d}", shift, *cells, state])
    return written


def write(name: str, lines: list[list[str]]) -> None:
    with (HERE / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADER, *lines])


if __name__ == "__main__":
    day = datetime(2026, 3, 2)
    write("press.csv", rows(day, DAY, 0, 1, range(0)))
    write("press-night.csv", rows(day + timedelta(days=1), NIGHT, DAY, 2, BAD))
