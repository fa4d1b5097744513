"""The layout of a mixed model: means of runs on collections, and what queries vary within them.

Every query of a collection is scored by every run. In such a complete layout the likelihood splits: the mean
of each run on each collection says all there is about fixed effects, runs and collections, and deviations
from those means all there is about queries and the residual (Searle, Casella and McCulloch 1992, *Variance
Components*, ch. 4). So 360,000 scores become 360 means without loss, and the rest is two mean squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeps.robustness.scores import Kind
from sweeps.table.cells import Floats


@dataclass(frozen=True)
class Cells:
    """Means of runs on collections, all arrays [n], and the variances within."""

    mean: Floats
    run: NDArray[np.intp]
    collection: NDArray[np.intp]
    names: list[str]
    """Of the collections."""
    queries: Floats
    """Number of queries of each mean's collection."""
    query_variance: float
    """Between queries of one collection."""
    residual_variance: float
    """Of a score about its run's, its collection's and its query's effects."""
    scores: int


def cells_of(kind: Kind) -> Cells:
    """The layout of a kind."""
    rows, columns, means, sizes = [], [], [], []
    for k, (name, matrix) in enumerate(kind.scores.items()):
        members = np.flatnonzero(kind.measured(name))
        rows.append(members)
        columns.append(np.full(len(members), k))
        means.append(matrix[members].mean(axis=1))
        sizes.append(np.full(len(members), matrix.shape[1], dtype=np.float64))
    query, residual = within([matrix[kind.measured(name)] for name, matrix in kind.scores.items()])
    size = np.concatenate(sizes)
    return Cells(
        np.concatenate(means),
        np.concatenate(rows),
        np.concatenate(columns),
        list(kind.scores),
        size,
        query,
        residual,
        int(size.sum()),
    )


def within(matrices: Sequence[Floats]) -> tuple[float, float]:
    """Variance between queries and residual variance of complete matrices [runs, queries], pooled.

    From the mean squares of the two-way layout: E[MS_query] = σ² + R·σ²_query, E[MS_residual] = σ²; where the
    former is positive this is REML. NaN where one run or one query leaves a mean square without freedom.
    """
    query, residual, between, within_ = 0.0, 0.0, 0, 0
    weighted = 0.0
    for matrix in matrices:
        runs, queries = matrix.shape
        centred = matrix - matrix.mean(axis=1, keepdims=True)
        effect = centred.mean(axis=0)
        query += runs * float((effect**2).sum())
        residual += float(((centred - effect) ** 2).sum())
        between += queries - 1
        within_ += (runs - 1) * (queries - 1)
        weighted += runs * (queries - 1)
    if not between or not within_:
        return float("nan"), float("nan")
    noise = residual / within_
    return max(0.0, (query / between - noise) / (weighted / between)), noise
