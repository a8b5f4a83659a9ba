"""Where arrays lie in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64
"""Bytes: kernels may round differently where an array starts elsewhere."""


def aligned(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that starts at a multiple of `ALIGNMENT` bytes."""
    room = np.empty(array.nbytes + ALIGNMENT, np.uint8)
    start = -room.__array_interface__["data"][0] % ALIGNMENT
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
