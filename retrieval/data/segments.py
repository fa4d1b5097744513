"""Flat arrays: places in segments that stand one after the other, membership in a sorted array."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def within(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """Place of every element in its segment, from 0 to count − 1: int64 ``[Σ counts]``."""
    starts = np.cumsum(counts) - counts
    places: NDArray[np.int64] = np.arange(int(counts.sum())) - np.repeat(starts, counts)
    return places


def contained(keys: NDArray[np.int64], ascending: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of ``keys`` are in ``ascending`` (not empty): bool, of the shape of ``keys``."""
    places = np.searchsorted(ascending, keys)
    found: NDArray[np.bool_] = ascending[np.minimum(places, len(ascending) - 1)] == keys
    return found
