"""The rule in torch: the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from service import dll
from service.kernels.edge import common
from service.rows import Probabilities, Rows
from service.state import Configuration, Diagnosis, Event, Labelled, Reply, State


class TorchKernel:
    """`service.dll`, on the processor.

    Parameters
    ----------
    threads
        How many torch may use, in the whole process; part of what makes a replay bitwise.
    """

    proved_by = "torch"

    def __init__(self, threads: int = 1) -> None:
        torch.set_num_threads(threads)

    def check(self, state: State) -> None:
        """It computes every state."""

    def initial(self, configuration: Configuration) -> State:
        return dll.initial(configuration)

    def forward(self, state: State, rows: Rows) -> Probabilities:
        return dll.forward(state, rows)

    def apply(
        self, state: State, event: Event, between: Callable[[], None] = dll.nothing
    ) -> tuple[State, Reply | None]:
        return dll.apply(state, event, between)

    def diagnose(self, state: State, event: Labelled) -> tuple[Diagnosis, ...]:
        return dll.diagnose(state, event)

    def software(self) -> dict[str, Any]:
        return {
            "torch": torch.__version__,
            **common(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
        }
