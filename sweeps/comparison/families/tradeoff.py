"""The frontier of every family, and where its trade-off lies: ρ* and the slope at the knee."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from retrieval.run.metric_names import larger_is_better
from sweeps.comparison.families.record import Ends, Tradeoff
from sweeps.fitting.bootstrap import interval
from sweeps.fitting.configurations import Configurations, aggregate
from sweeps.fitting.laws import Floats
from sweeps.frontier.hypervolume import knee, non_dominated
from sweeps.frontier.record import Front
from sweeps.frontier.trace import FrontierOptions, frontier

MIN_CONFIGURATIONS = 3
"""Configurations of a cell whose frontier says something of a trade-off."""

REPLICATES = 200
"""Draws of seed noise: a knee is found in each, frontier by frontier."""

MIN_DRAWS = 20


def tradeoffs(
    rows: pd.DataFrame, metrics: tuple[str, str], by: tuple[str, ...], seed: int, level: float
) -> tuple[list[float], list[Tradeoff]]:
    """The common reference point, and the frontier of every value of ``by``, families first.

    ``rows`` are labelled, with both metrics; ``by`` begins with ``model_family``.
    """
    options = FrontierOptions(*metrics, by, replicates=REPLICATES, seed=seed, level=level)
    found = frontier(rows, options)
    means = aggregate(rows, metrics)
    tables = dict(iter(means.table.groupby(list(by), sort=True)))
    each = []
    for group in found.groups:
        values = tuple(group.where.values())
        own = replace(means, table=tables[values].reset_index(drop=True))
        where = {name: value for name, value in group.where.items() if name != by[0]}
        each.append(_tradeoff(str(values[0]), where, group.front, _slopes(own, metrics, seed, level)))
    return found.front.hypervolume.reference, each


def _tradeoff(
    family: str, where: dict[str, Any], front: Front, slope: tuple[float | None, Ends | None]
) -> Tradeoff:
    return Tradeoff(
        family=family,
        where=where,
        n_configs=len(front.points),
        n_non_dominated=len(front.best),
        knee=front.knee.configuration,
        x=front.knee.x,
        y=front.knee.y,
        rho=front.rho,
        rho_interval=front.rho_interval,
        slope=slope[0],
        slope_interval=slope[1],
        hypervolume=front.hypervolume.value,
        hypervolume_interval=front.hypervolume.interval,
        points=[(point.x, point.y) for point in front.best],
    )


def _slopes(
    means: Configurations, metrics: tuple[str, str], seed: int, level: float
) -> tuple[float | None, Ends | None]:
    """The slope at the knee and its interval under seed noise; ``None`` where it is not defined."""
    signs = np.array([-1.0 if larger_is_better(name) else 1.0 for name in metrics])
    values = means.table[list(metrics)].to_numpy(float)
    found = slope_at_knee(values, signs)
    if found is None or not len(means.residuals):
        return found, None
    drawn = means.resample(np.random.default_rng(seed), REPLICATES)
    slopes = [one for part in drawn if (one := slope_at_knee(part, signs)) is not None]
    if len(slopes) < MIN_DRAWS:
        return found, None
    low, high = interval(np.array(slopes), level)
    return found, (float(low), float(high))


def slope_at_knee(points: Floats, signs: Floats, best: int | None = None) -> float | None:
    """dy/dx of a frontier at its knee, for points [n, 2] in their own units.

    Between the knee's neighbours on the frontier, or to its one neighbour at an end; ``None`` where the
    frontier is a single point. ``signs`` is −1 for a metric of which more is better; ``best``: the knee's
    place among the points, where it is known.
    """
    minimised = points * signs
    best = knee(minimised) if best is None else best
    front = np.unique(points[non_dominated(minimised)], axis=0)
    if len(front) < 2:
        return None
    place = int(np.flatnonzero((front == points[best]).all(axis=1))[0])
    before, after = front[max(place - 1, 0)], front[min(place + 1, len(front) - 1)]
    return float((after[1] - before[1]) / (after[0] - before[0]))
