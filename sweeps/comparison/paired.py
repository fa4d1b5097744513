"""Differences between two sets of seeds with Student's intervals, and Holm's correction for many of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from sweeps.comparison.record import Judged


def difference(first: pd.Series, second: pd.Series, level: float) -> Judged:
    """Second less first of two sets of runs.

    Seeds that both have are paired, and the others left out: a t interval over the seeds' differences. With
    fewer than two of those but two or more runs on each side, Welch's interval. Else no interval. The index
    of ``first`` and ``second`` is the seed; ``level`` is that of the interval.
    """
    shared = first.index.intersection(second.index)
    if len(shared) >= 2 or (len(shared) == 1 and min(len(first), len(second)) < 2):
        a, b = first[shared].to_numpy(float), second[shared].to_numpy(float)
        error = float((b - a).std(ddof=1)) / np.sqrt(len(a)) if len(a) > 1 else np.nan
        return _judged(a, b, error, len(a) - 1.0, level, len(a), "paired")
    a, b = first.to_numpy(float), second.to_numpy(float)
    if min(len(a), len(b)) < 2:
        return _judged(a, b, np.nan, 0.0, level, 0, "none")
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    total = sum(parts)
    below = parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1)
    freedom = total**2 / below if below > 0 else float(len(a) + len(b) - 2)
    return _judged(a, b, float(np.sqrt(total)), freedom, level, 0, "unpaired")


def _judged(
    a: np.ndarray, b: np.ndarray, error: float, df: float, level: float, n: int, method: str
) -> Judged:
    means = float(a.mean()), float(b.mean())
    gap = means[1] - means[0]
    if not df:
        return Judged(*means, gap, None, None, None, n, None, "none")
    half = float(stats.t.ppf((1 + level) / 2, df)) * error
    # Runs that are the same to the bit differ by nothing, with certainty.
    p = float(2 * stats.t.sf(abs(gap) / error, df)) if error > 0 else float(gap == 0)
    return Judged(*means, gap, gap - half, gap + half, p, n, df, method)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p values adjusted for their number (Holm 1979, Scand. J. Statist. 6(2)); ``None`` stays."""
    known = [(p, k) for k, p in enumerate(values) if p is not None]
    adjusted: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (p, k) in enumerate(sorted(known)):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[k] = largest
    return adjusted
