"""That what is published is what was learned: each graph against torch, which did not make it.

Where torch is not installed, the graphs vouch for each other: the step's probabilities and the
state after it, against the graph that replicas run; see `Kernel.proved_by`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from service.errors import ConfigurationError
from service.graph.forward import to_onnx
from service.graph.session import TOLERANCE, Session, golden_rows
from service.graph.step import FORMAT
from service.kernels.kernel import Kernel
from service.manifest import Manifest
from service.rows import Rows
from service.state import Labelled, Reply, State, arrays, finite

STEP_TOLERANCE = 1e-3
"""What a step's tensors may differ by, relative to each one's largest; float32's rounding leaves
some 1e-6."""


class ParityBroken(Exception):
    """A graph does not do what the network does."""


def step_proved(kernel: Kernel, state: State, graph: bytes, rows: Rows) -> dict[str, Any]:
    """Learn one of ``rows`` (B, n) by the step graph and by `Kernel.proved_by`: what the manifest
    says of it.

    Raises
    ------
    ParityBroken
        They do not agree.
    """
    row = rows[-1:]
    # The least expected label: an error that is not nothing.
    label = kernel.forward(state, row).argmin(1).astype(np.int64)
    lesson = Labelled(row, label)
    learns = state._replace(frozen=False)
    mine, said = kernel.apply(learns._replace(kernel="onnx"), lesson)
    assert said is not None
    if kernel.proved_by == "graphs":
        predicted = _answered(kernel, state, mine, said, row)
        return _described(graph, predicted, None)
    theirs, expected = kernel.apply(learns._replace(kernel="torch"), lesson)
    assert expected is not None
    # Of a network whose next step leaves the numbers, as an old version may have stored, the step
    # proves nothing; it would be refused, and whoever rolls back to it must be able to.
    with np.errstate(all="ignore"):
        whole = finite(theirs)
    predicted = float(np.abs(said.probabilities - expected.probabilities).max())
    apart = _apart(mine, theirs) if whole else 0.0
    # Adam steps by the sign of a gradient that is next to nothing, and rounding may turn it.
    adam = [n.step_size for n in state.configuration.networks if n.optimiser == "adam"]
    bound = STEP_TOLERANCE + 2 * state.step_size * max(adam, default=0.0)
    if whole and not (predicted <= TOLERANCE and apart <= bound):
        raise ParityBroken(
            f"step at seq {state.seq}: expected graph and torch to agree to {TOLERANCE:g} on "
            f"probabilities and {bound:g} on tensors, found {predicted:g} and {apart:g}"
        )
    return _described(graph, predicted, apart if whole else None)


def answers_golden_rows(kernel: Kernel, state: State, manifest: Manifest) -> None:
    """Whether a kernel says of a snapshot's golden rows what its maker did.

    Raises
    ------
    ConfigurationError
        It does not.
    """
    if not manifest.golden:
        return
    rows, expected = golden_rows(manifest.golden)
    difference = float(np.abs(kernel.forward(state, rows) - expected).max())
    if not difference <= TOLERANCE:
        raise ConfigurationError(
            f"snapshot {manifest.version}: expected its golden rows to agree to {TOLERANCE:g} "
            f"here, found {difference:g}; this runtime computes otherwise than its learner's"
        )


def _answered(kernel: Kernel, before: State, after: State, said: Reply, row: Rows) -> float:
    """The largest difference on probabilities, before and after a step, from the graph that
    replicas run."""
    found = float(np.abs(Session(to_onnx(before)).probabilities(row) - said.probabilities).max())
    if finite(after):
        onnx_after = after._replace(kernel="onnx")
        again = Session(to_onnx(after)).probabilities(row) - kernel.forward(onnx_after, row)
        found = max(found, float(np.abs(again).max()))
    if not found <= TOLERANCE:
        raise ParityBroken(
            f"step at seq {before.seq}: expected step.onnx and model.onnx to agree to "
            f"{TOLERANCE:g} on probabilities, found {found:g}"
        )
    return found


def _described(graph: bytes, predicted: float, apart: float | None) -> dict[str, Any]:
    model = onnx.load_from_string(graph)
    return {
        "format": FORMAT,
        "inputs": [each.name for each in model.graph.input],
        "outputs": [each.name for each in model.graph.output],
        "parity": {
            "rows": 1,
            "max_abs_diff": predicted,
            "tolerance": TOLERANCE,
            "max_relative_diff_of_tensors": apart,
        },
    }


def _apart(a: State, b: State) -> float:
    """Largest difference, relative to each tensor's largest value, or to 1 where that is less."""
    theirs = arrays(b)
    found = [0.0]
    for name, mine in arrays(a).items():
        other = theirs[name]
        if mine.size and name != "reservoir.rows":
            scale = max(1.0, float(np.abs(other).max()))
            found.append(float(np.abs(mine - other).max()) / scale)
    return max(found)
