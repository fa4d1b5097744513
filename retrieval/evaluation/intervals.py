"""95 % intervals of means over queries."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

LEVEL = 0.95
_Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


def of_mean(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """Student's interval of the mean of float64[n], n queries drawn at random; ``None`` of fewer than two."""
    if len(values) < 2:
        return None
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * error
    return float(values.mean()) - half, float(values.mean()) + half


def of_share(wins: float, count: int) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927, JASA 22) of ``count`` pairs, ties being half a win.

    Ties vary less than wins and losses do, so that with them the interval is wider than it need be.
    """
    share, square = wins / count, _Z**2 / count
    middle = (share + square / 2) / (1 + square)
    half = _Z * math.sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)
