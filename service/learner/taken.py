"""What became of a request on the writer's thread, before it is durable."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_store.log.log import Batch, Record
from service.rows import Labels, Rows
from service.state import Reply


class Lessoned(NamedTuple):
    """What was just taught: rows (B, n), labels (B,) with UNKNOWN where there is none, the reply
    that the learner gave on arrival, and whose rows they are; "" where they name no line."""

    rows: Rows
    labels: Labels
    reply: Reply
    line: str = ""


class Taken(NamedTuple):
    """What became of one request: to be committed, scored and answered, in this order."""

    answer: Any
    record: Record | None = None
    batch: Batch | None = None
    scored: tuple[Labels, NDArray[np.float32]] | None = None
    learned_rows: int = 0
    outcome: str = "predicted"
    lesson: Lessoned | None = None
    delay_s: float | None = None
    """Seconds from the receipt of the batch to that of its late labels."""
    probabilities: NDArray[np.float32] | None = None
    """Of all rows of a batch that was answered anew, for the drift monitor."""
