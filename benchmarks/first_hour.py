"""What do three commands make of a file as a plant writes it?

    python -m benchmarks.first_hour --json out.json [--rows 49097]

River's Shuttle (NASA's radiator sensors, 7 percent anomalies) as a CSV file with a byte order mark,
semicolons, decimal commas, other names for its columns, 2 percent of the readings missing and 0.1
percent 9999; then `apical init`, `apical serve` and `apical send`, with the configuration as it
was written. `f1`: prequential, of the anomaly; beside it accuracy, and that of the last label and
of the most frequent one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import output
from service.hosting.process import ServerProcess

NAMES = ["Temperatur A", "Ventil 2", "Druck (bar)", "v4", "v5", "v6", "Fluß", "v8", "v9"]
TARGET = "Zustand"
MISSING, GLITCH = 0.02, 0.001


def write(path: Path, count: int) -> None:
    """The file; the same at every run."""
    from river import datasets

    draw = np.random.default_rng(0)
    lines = [";".join([*NAMES, TARGET])]
    for x, anomaly in itertools.islice(datasets.Shuttle(), count):
        cells = []
        for value in x.values():
            chance = draw.random()
            if chance < MISSING:
                cells.append("")
            elif chance < MISSING + GLITCH:
                cells.append("9999")
            else:
                cells.append(f"{float(value):.1f}".replace(".", ","))
        lines.append(";".join([*cells, "anomaly" if anomaly else "normal"]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_hour")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rows", type=int, default=49_097)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "line.csv", asked.rows)
        environment = {**os.environ, "PYTHONPATH": os.getcwd()}

        def apical(*words: str) -> str:
            command = [sys.executable, "-m", "service.cli", *words]
            done = subprocess.run(
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True, text=True
            )
            return done.stdout

        minded = apical("init", "line.csv", "--target", TARGET)
        config = folder / "apical.toml"
        # Where the process that measures has no business to be: its own working directory.
        text = config.read_text("utf-8").replace('"apical-data/', f'"{folder}/apical-data/')
        config.write_text(text, "utf-8")
        with ServerProcess(["serve", "--config", str(config)], folder / "log.txt") as server:
            server.wait_ready()
            told = apical("send", "line.csv", "--target", TARGET, "--url", server.url, "--json")
    score = json.loads(told)
    found = {"machine": output.machine(), **score, "f1": score["f1"]["anomaly"]}
    output.write({**found, "minded": minded.splitlines()}, asked.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
