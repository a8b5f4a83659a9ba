"""Arrays of rows, labels and probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1
"""The class index of a row without a label."""

Rows = NDArray[np.float32]
"""(B, n) readings in raw units, NaN where missing."""

Labels = NDArray[np.int64]
"""(B,) class indices, `UNKNOWN` where there is none."""

Probabilities = NDArray[np.float32]
"""(B, K), one for each class."""
