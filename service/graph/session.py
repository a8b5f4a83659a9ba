"""An ONNX graph loaded for inference, and checked against its golden rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from service.rows import Probabilities, Rows

INPUT = "readings"
OUTPUT = "probabilities"

TOLERANCE = 1e-5
"""What torch and onnxruntime may differ by, on probabilities."""


class Session:
    """One snapshot's graph in onnxruntime, single-threaded: the processes are what scales.

    Parameters
    ----------
    graph
        A serialised ONNX model, already verified.
    """

    def __init__(self, graph: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )

    def probabilities(self, rows: Rows) -> Probabilities:
        """(B, n) raw readings, NaN where missing → (B, K)."""
        (out,) = self._session.run([OUTPUT], {INPUT: rows})
        return np.asarray(out)


def golden_difference(session: Session, golden: dict[str, Any]) -> float:
    """The largest difference between the session and a manifest's golden rows; null is missing."""
    rows, expected = golden_rows(golden)
    return float(np.abs(session.probabilities(rows) - expected).max())


def golden_rows(golden: dict[str, Any]) -> tuple[Rows, Probabilities]:
    """A manifest's golden rows (k, n), and the probabilities (k, K) that they must get."""
    rows = np.array(
        [[np.nan if v is None else v for v in row] for row in golden["rows"]], np.float32
    )
    return rows, np.array(golden["probabilities"], np.float32)
