"""What the rest of the service asks of whatever runs the learning rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from service.rows import Probabilities, Rows
from service.state import Configuration, Diagnosis, Event, Labelled, Reply, State


class Kernel(Protocol):
    """Runs the rule. Deterministic: bitwise the same answer for the same state and event, as long
    as `software` says the same."""

    @property
    def proved_by(self) -> str:
        """Who vouches for a snapshot's graphs: "torch", which did not make them, or "graphs", each
        for the other."""
        ...

    def check(self, state: State) -> None:
        """Whether a state can be computed here.

        Raises
        ------
        KernelMissing
            It needs torch, and torch is not installed.
        """
        ...

    def initial(self, configuration: Configuration) -> State:
        """A newborn learner at ``seq`` 0.

        Raises
        ------
        KernelMissing
            torch, which draws it, is not installed.
        """
        ...

    def forward(self, state: State, rows: Rows) -> Probabilities:
        """Class probabilities (B, K) of raw rows (B, n)."""
        ...

    def apply(
        self, state: State, event: Event, between: Callable[[], None] = ...
    ) -> tuple[State, Reply | None]:
        """The next state, and the reply to a labelled batch or None; ``between`` is called between
        two steps of an event.

        Raises
        ------
        ValueError
            The event orders a step size that is not positive and finite.
        """
        ...

    def diagnose(self, state: State, event: Labelled) -> tuple[Diagnosis, ...]:
        """What learning ``event`` does to each network of ``state``; for people."""
        ...

    def software(self) -> dict[str, Any]:
        """What must be equal for a replay to be bitwise."""
        ...
