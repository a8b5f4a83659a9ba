"""A Dockerfile as its stages and instructions; as much of the syntax as ours uses."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = {
    *("ARG", "FROM", "WORKDIR", "ENV", "COPY", "RUN", "USER", "EXPOSE"),
    *("HEALTHCHECK", "ENTRYPOINT", "CMD"),
}


@dataclass
class Stage:
    """``base`` is an image or another stage; ``steps`` are (instruction, arguments) in order."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, instruction: str) -> str | None:
        found = [arguments for word, arguments in self.steps if word == instruction]
        return found[-1] if found else None


def parse(path: Path) -> dict[str, Stage]:
    """Stages by name, in order. Raises ValueError at an instruction that is not known."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text("utf-8"), flags=re.MULTILINE)
    text = re.sub(r"\\\n", " ", text)
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for line in filter(str.strip, text.splitlines()):
        word, _, arguments = line.strip().partition(" ")
        if word not in KNOWN:
            raise ValueError(f"{path.name}: expected one of {sorted(KNOWN)}, found {line!r}")
        arguments = re.sub(r"\s+", " ", arguments.strip())
        if word == "FROM":
            base, _, name = arguments.partition(" AS ")
            stage = stages[name] = Stage(name, base)
        elif stage is not None:
            stage.steps.append((word, arguments))
    return stages


def chain(stages: dict[str, Stage], target: str) -> list[Stage]:
    """The stages that a target is built on, the first one first, the target last."""
    found = [stages[target]]
    while found[0].base in stages:
        found.insert(0, stages[found[0].base])
    return found


def inherited(stages: dict[str, Stage], target: str, instruction: str) -> str | None:
    """The last of an instruction over the whole chain."""
    values = [stage.last(instruction) for stage in chain(stages, target)]
    return next((value for value in reversed(values) if value is not None), None)


def command(arguments: str) -> list[str]:
    """A command in its exec form; raises ValueError for the shell form."""
    words: list[str] = json.loads(arguments[arguments.index("[") :])
    return words
