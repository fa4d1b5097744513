"""Elements of segments that stand one after the other in a flat array."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def within(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """Place of every element in its segment, from 0 to count − 1: int64 ``[Σ counts]``."""
    starts = np.cumsum(counts) - counts
    places: NDArray[np.int64] = np.arange(int(counts.sum())) - np.repeat(starts, counts)
    return places
