"""Cluster bootstrap: configurations are drawn with replacement, then seeds within each drawn one.

Seeds of one configuration share its deviation from the law (learning rate, initialisation scheme, chance of
the subset), so drawing rows as if they were independent gives intervals that are too narrow. The draws can
be shared by several fits, so that a difference between metrics or strategies is a paired one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeps import Progress
from sweeps.fitting.laws import Floats
from sweeps.fitting.points import Runs
from sweeps.fitting.solver import Objective

MIN_LEVELS = 3
"""A draw with fewer distinct values of an axis (when the table has as many) is discarded."""

_CHUNK = 128
_MAX_DRAWS = 20


@dataclass(frozen=True)
class Fitted:
    """One fit to be bootstrapped: its rows, objective and the starts worth trying on every draw."""

    runs: Runs
    objective: Objective
    starts: Floats
    """Centred parameters [k, p]; the optimum first."""


@dataclass(frozen=True)
class Sample:
    """Published parameters of each fit under the same draws, each [r, p]."""

    params: list[Floats]
    requested: int
    discarded: int


def bootstrap(fits: Sequence[Fitted], count: int, seed: int, progress: Progress | None = None) -> Sample:
    """Refit all ``fits`` on ``count`` shared draws; rows of equal (N, D) and seed are drawn together.

    ``progress(done, total)`` is called as draws finish. Results depend on ``seed``, not on the order of
    rows or on how the work is split. Fewer than ``count`` draws come back when most must be discarded.
    """
    slots, owners = _slots(fits)
    draws, discarded = _draw(fits, slots, owners, count, np.random.default_rng(seed))
    params: list[Floats] = []
    total = len(draws) * len(fits)
    for position, (fit, slot) in enumerate(zip(fits, slots)):
        parts = []
        for begin in range(0, len(draws), _CHUNK):
            part = draws[begin : begin + _CHUNK]
            parts.append(_refit(fit, part[:, slot]))
            if progress is not None:
                progress(min(position * len(draws) + begin + len(part), total), total)
        params.append(np.concatenate(parts) if parts else np.empty((0, fit.objective.law.size)))
    return Sample(params, count, discarded)


def _slots(fits: Sequence[Fitted]) -> tuple[list[NDArray[np.intp]], NDArray[np.intp]]:
    """Slot of every row of every fit, and the configuration [slots] that owns each slot.

    A slot is one (N, D, seed) over all fits: rows in the same slot are drawn the same number of times.
    """
    keys = [list(zip(fit.runs.n.tolist(), fit.runs.d.tolist(), fit.runs.replicate)) for fit in fits]
    every = sorted({key for group in keys for key in group})
    place = {key: index for index, key in enumerate(every)}
    independent = any(fit.runs.independent for fit in fits)
    owners = np.arange(len(every))
    if not independent:
        sizes = np.array([key[:2] for key in every])
        owners = np.unique(sizes, axis=0, return_inverse=True)[1].ravel()
    return [np.array([place[key] for key in group], dtype=np.intp) for group in keys], owners


def _draw(
    fits: Sequence[Fitted],
    slots: Sequence[NDArray[np.intp]],
    owners: NDArray[np.intp],
    count: int,
    generator: np.random.Generator,
) -> tuple[NDArray[np.int64], int]:
    """How often each slot is drawn, int64 [r, slots], and how many draws were discarded on the way."""
    sizes = np.bincount(owners)
    kept: list[NDArray[np.int64]] = []
    found = discarded = 0
    for _ in range(_MAX_DRAWS):
        if found >= count:
            break
        drawn = np.empty((count, len(owners)), dtype=np.int64)
        configurations = generator.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=count)
        for cluster, size in enumerate(sizes):
            within = generator.multinomial(configurations[:, cluster] * size, np.full(size, 1 / size))
            drawn[:, owners == cluster] = within
        good = np.all([_usable(fit, drawn[:, slot] > 0) for fit, slot in zip(fits, slots)], axis=0)
        accepted = drawn[good][: count - found]
        # Draws after the last one needed were not looked at, so they count neither way.
        last = np.flatnonzero(good)[len(accepted) - 1] + 1 if found + len(accepted) == count else count
        discarded += int(last) - len(accepted)
        found += len(accepted)
        kept.append(accepted)
    return np.concatenate(kept) if kept else np.empty((0, len(owners)), dtype=np.int64), discarded


def _usable(fit: Fitted, drawn: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Draws [r] with as many configurations as parameters and enough levels of every axis."""
    runs, law = fit.runs, fit.objective.law
    enough = _distinct(drawn, runs.cluster) >= law.size
    for axis in law.axes:
        levels = np.unique(runs.size(axis), return_inverse=True)[1]
        enough &= _distinct(drawn, levels) >= min(MIN_LEVELS, levels.max() + 1)
    return enough


def _distinct(drawn: NDArray[np.bool_], groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """Number of groups with at least one drawn row, [r]."""
    hits = np.zeros((len(drawn), groups.max() + 1), dtype=bool)
    for row, group in enumerate(groups):
        hits[:, group] |= drawn[:, row]
    return np.asarray(hits.sum(axis=1), dtype=np.intp)


def _refit(fit: Fitted, drawn: NDArray[np.int64]) -> Floats:
    """Published parameters [r, p] on tables whose rows are repeated ``drawn`` [r, k] times."""
    runs, objective = fit.runs, fit.objective
    member = np.zeros((len(runs.log_y), len(runs.counts)))
    member[np.arange(len(runs.log_y)), runs.cluster] = 1.0
    times = drawn @ member
    means = (drawn * runs.log_y) @ member / np.maximum(times, 1.0)
    means = np.where(times > 0, means, objective.points.log_y)
    weight = objective.points.weight * times / runs.counts
    best = np.full(len(drawn), np.inf)
    theta = np.repeat(fit.starts[:1], len(drawn), axis=0)
    for start in fit.starts:
        found, cost = objective.solve(
            np.repeat(start[None, :], len(drawn), axis=0), means, weight, tolerance=1e-7
        )
        better = cost < best
        theta[better], best[better] = found[better], cost[better]
    return objective.law.to_published(theta, objective.points.centre)


def interval(draws: Floats, level: float) -> tuple[Floats, Floats]:
    """Percentile interval over the first axis: lower and upper ends [...] of draws [r, ...]."""
    tail = (1.0 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    return low, high
