"""The kernel that a state names: each stretch of a log is replayed by the one that learned it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from service.kernels.edge import WithoutTorch
from service.kernels.kernel import Kernel
from service.kernels.onnx import OnnxKernel
from service.rows import Probabilities, Rows
from service.state import Configuration, Diagnosis, Event, Labelled, Reply, State


class KernelByState:
    """`TorchKernel` or `OnnxKernel`, as `State.kernel` says; where torch is not installed, the
    second alone.

    Parameters
    ----------
    threads
        How many torch may use, in the whole process.
    """

    def __init__(self, threads: int = 1) -> None:
        torch = _torch(threads)
        self._kernels: Mapping[str, Kernel] = {"torch": torch, "onnx": OnnxKernel(torch)}

    @property
    def proved_by(self) -> str:
        return self._kernels["torch"].proved_by

    def check(self, state: State) -> None:
        self._of(state).check(state)

    def initial(self, configuration: Configuration) -> State:
        """Drawn by torch, whoever runs it then."""
        return self._kernels["torch"].initial(configuration)

    def forward(self, state: State, rows: Rows) -> Probabilities:
        return self._of(state).forward(state, rows)

    def apply(
        self, state: State, event: Event, between: Callable[[], None] = lambda: None
    ) -> tuple[State, Reply | None]:
        return self._of(state).apply(state, event, between)

    def diagnose(self, state: State, event: Labelled) -> tuple[Diagnosis, ...]:
        return self._of(state).diagnose(state, event)

    def software(self) -> dict[str, Any]:
        return self._kernels["torch"].software()

    def _of(self, state: State) -> Kernel:
        if state.kernel not in self._kernels:
            known = ", ".join(self._kernels)
            raise ValueError(f"kernel: expected one of {known}, found {state.kernel!r}")
        return self._kernels[state.kernel]


def _torch(threads: int) -> Kernel:
    try:
        # Here alone: `apical[edge]` does not install it.
        from service.kernels.torch import TorchKernel
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return WithoutTorch()
    return TorchKernel(threads)
