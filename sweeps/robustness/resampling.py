"""Two-level bootstrap of a mean over collections, queries and seeds, by weights.

A draw gives each pair of runs, each query and, at the upper level, each collection a weight, so that a draw
of any statistic that is a mean is one product of matrices. At every level n−1 of n units are drawn: then the
variance over draws is the usual unbiased one even for two seeds or three domains (Rao and Wu 1988, J. Am.
Stat. Assoc. 83). The upper level draws queries anew within each drawn collection, which counts their noise
twice and so errs on the wide side (Davison and Hinkley 1997, sec. 3.8).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from sweeps.fitting.bootstrap import interval
from sweeps.fitting.sensitivity import two_sided
from sweeps.table.cells import Floats


def drawn_weights(
    generator: np.random.Generator, draws: int, units: int, times: NDArray[np.int64] | None = None
) -> Floats:
    """float64[draws, units], counts of units drawn; a row sums to 1, or to its entry of ``times`` [draws].

    ``times``: how often each draw takes the whole sample; by default once. A single unit keeps its weight.
    """
    counts = np.ones(draws, dtype=np.int64) if times is None else times
    if units == 1:
        return counts[:, None].astype(np.float64)
    drawn = generator.multinomial(counts * (units - 1), np.full(units, 1 / units))
    return np.asarray(drawn / (units - 1), dtype=np.float64)


@dataclass(frozen=True)
class Draws:
    """Weights of queries under the draws, shared by all statistics of a kind, so that they are paired."""

    fixed: dict[str, Floats]
    """Collection -> float64[draws, queries], each row summing to 1."""
    moving: dict[str, Floats]
    """The same where collections are drawn, too; the sum over collections of all weights is 1."""
    seed: int

    @property
    def count(self) -> int:
        """Number of draws."""
        return len(next(iter(self.fixed.values())))


def p_value(estimate: float, draws: Floats, freedom: float = math.inf) -> float:
    """Two-sided, of an estimate of 0: Student's t, with the standard deviation of its draws [r].

    ``freedom``: of :meth:`Contrast.freedom`. Counting draws beyond 0 could not go below 2/(r+1), which Holm's
    method multiplies by the number of tests.
    """
    spread = float(draws.std(ddof=1))
    return float(2 * student.sf(abs(estimate) / spread, freedom)) if spread > 0 else two_sided(draws)


def widened(estimate: float, draws: Floats, freedom: float, level: float) -> Floats:
    """The draws [r], as far from the estimate as Student's t has them that are normal about it.

    Draws of a few seeds have the spread of the mean and not the tails of a spread that few seeds tell.
    """
    tail = (1 + level) / 2
    return np.asarray(estimate + (draws - estimate) * (student.ppf(tail, freedom) / norm.ppf(tail)))


def draw(queries: Mapping[str, int], count: int, seed: int) -> Draws:
    """``count`` draws of queries within collections, and of collections; ``queries``: how many each has."""
    generator = np.random.default_rng(seed)
    fixed = {name: drawn_weights(generator, count, size) for name, size in queries.items()}
    if len(queries) == 1:
        return Draws(fixed, {}, seed)
    times = generator.multinomial(len(queries) - 1, [1 / len(queries)] * len(queries), size=count)
    moving = {
        name: drawn_weights(generator, count, size, times[:, k]) / (len(queries) - 1)
        for k, (name, size) in enumerate(queries.items())
    }
    return Draws(fixed, moving, seed)


def run_weights(cell: NDArray[np.intp], draws: int, seed: int) -> Floats:
    """float64[draws, pairs]: seeds drawn within each cell, cells of equal weight; rows sum to 1."""
    generator = np.random.default_rng([seed, 1])
    weights = np.empty((draws, len(cell)))
    names = np.unique(cell)
    for name in names:
        members = np.flatnonzero(cell == name)
        weights[:, members] = drawn_weights(generator, draws, len(members)) / len(names)
    return weights


@dataclass(frozen=True)
class Contrast:
    """A value of every pair of runs at every query, whose mean is asked for."""

    values: dict[str, Floats]
    """Collection -> float64[measured pairs, queries]."""
    measured: dict[str, NDArray[np.bool_]]
    """Collection -> which of all pairs have it, bool[pairs]."""
    cell: NDArray[np.intp]
    """[pairs]."""

    def mean(self) -> float:
        """The mean over seeds, then over cells, queries and collections."""
        weight = 1.0 / np.bincount(self.cell)[self.cell][None, :]
        parts = [float((self._own(weight, name) @ part).mean()) for name, part in self.values.items()]
        return float(np.mean(parts))

    def freedom(self, draws: Floats) -> float:
        """Degrees of freedom of the spread of ``draws`` [r] (Welch-Satterthwaite).

        What differs between the seeds of a cell is known by as many seeds less one; queries are many. ∞ where
        no cell has two seeds: then no draw holds any noise of seeds.
        """
        whole = np.asarray(np.stack(list(self.measured.values())).all(axis=0))
        means = [part[whole[self.measured[name]]].mean(axis=1) for name, part in self.values.items()]
        own, cell = np.mean(means, axis=0), self.cell[whole]
        parts = [
            (float(values.var(ddof=1)) / len(values), len(values) - 1)
            for values in (own[cell == name] for name in np.unique(cell))
            if len(values) > 1
        ]
        cells, total = len(np.unique(self.cell)), float(draws.var(ddof=1))
        uncertain = sum((variance / cells**2) ** 2 / free for variance, free in parts)
        if uncertain == 0:
            return math.inf
        return max(total**2 / uncertain, float(min(free for _, free in parts)))

    def inference(self, draws: Floats, level: float, null: float = 0.0) -> tuple[tuple[float, float], float]:
        """Ends of the interval of the mean, and p of the mean being ``null``, by ``draws`` [r]."""
        mean, freedom = self.mean(), self.freedom(draws)
        low, high = interval(widened(mean, draws, freedom, level)[:, None], level)
        return (float(low[0]), float(high[0])), p_value(mean - null, draws - null, freedom)

    def draws(self, runs: Floats, queries: Mapping[str, Floats], share: float) -> Floats:
        """[draws] of the mean under weights of pairs [draws, pairs] and of queries.

        ``share``: the weight of each collection beyond what ``queries`` (collection -> float64[draws,
        queries]) hold.
        """
        total = np.zeros(len(runs))
        for name, part in self.values.items():
            weight = self._own(runs, name)
            total += share * np.einsum("bp,bp->b", weight, queries[name] @ part.T)
        # Weights sum to 1 but for rounding, and what is equal in every draw must stay so.
        return np.asarray(total.round(12), dtype=np.float64)

    def _own(self, weight: Floats, name: str) -> Floats:
        """Weights of the pairs that have a collection, each row summing to 1."""
        own = weight[:, self.measured[name]]
        total = own.sum(axis=1, keepdims=True)
        # A draw without any measured pair takes all of them.
        return np.asarray(np.where(total > 0, own / np.where(total > 0, total, 1), 1 / own.shape[1]))
