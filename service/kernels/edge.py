"""What stands in for torch where it is not installed: it refuses, and says what would help."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnxruntime

from service.errors import KernelMissing
from service.graph.step import FORMAT
from service.rows import Probabilities, Rows
from service.state import Configuration, Diagnosis, Event, Labelled, Reply, State

REMEDY = "`pip install 'apical[learner]'` brings torch"

AVX512 = {"avx512f", "avx512bw", "avx512vl", "avx512dq"}
AVX2 = {"avx2", "fma"}


class WithoutTorch:
    """Draws nothing and computes nothing. Diagnoses, which are for people, are left out."""

    proved_by = "graphs"

    def initial(self, configuration: Configuration) -> State:
        raise KernelMissing(
            "there is no snapshot yet, and torch, which draws newborn networks, is not installed: "
            f"{REMEDY}; or begin with a snapshot of a learner that has it"
        )

    def check(self, state: State) -> NoReturn:
        raise KernelMissing(
            f"at event {state.seq} the state names the kernel {state.kernel!r} with a recipe that "
            f"the step graph does not cover, and torch is not installed: {REMEDY}"
        )

    def forward(self, state: State, rows: Rows) -> Probabilities:
        self.check(state)

    def apply(
        self, state: State, event: Event, between: Callable[[], None] = lambda: None
    ) -> tuple[State, Reply | None]:
        self.check(state)

    def diagnose(self, state: State, event: Labelled) -> tuple[Diagnosis, ...]:
        return ()

    def software(self) -> dict[str, Any]:
        return {**common(), "cpu": cpu_level(), "threads": 1}


def common() -> dict[str, Any]:
    """What every kernel's arithmetic depends on."""
    return {
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": "cpu",
        "step_format": FORMAT,
    }


def cpu_level(told: Path = Path("/proc/cpuinfo")) -> str:
    """The instructions that arithmetic is chosen by, in torch's words, read without it."""
    try:
        lines = told.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    flags = next((set(x.partition(":")[2].split()) for x in lines if x.startswith("flags")), set())
    if flags >= AVX512 | AVX2:
        return "AVX512"
    return "AVX2" if flags >= AVX2 else "DEFAULT"
