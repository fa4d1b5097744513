"""Whether the trade-off of two families lies elsewhere: differences of ρ* and of the slope at the knee.

Seed noise is drawn anew (a residual bootstrap, :meth:`Configurations.resample`), the frontier and its knee
are found in each draw, and ρ* and the slope are read off there. Families that were run with the same
configurations and seeds have the same deviations drawn, configuration by configuration, so that what a seed
does to both cancels in the difference; others are drawn independently of each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from retrieval.run.metric_names import larger_is_better
from sweeps.comparison.cells import holm
from sweeps.comparison.families.record import RHO, SLOPE, Shift
from sweeps.comparison.families.tradeoff import MIN_CONFIGURATIONS, MIN_DRAWS, slope_at_knee
from sweeps.fitting.bootstrap import interval
from sweeps.fitting.configurations import Configurations, aggregate
from sweeps.fitting.laws import Floats
from sweeps.fitting.result import FitOptions
from sweeps.fitting.sensitivity import two_sided
from sweeps.frontier.hypervolume import knee
from sweeps.table.cells import texts_of
from sweeps.table.families import FAMILY, in_order

_TELLING = ("model", "frac", "label", "seed")
"""Columns that say which runs of two families belong together."""


@dataclass(frozen=True)
class _Family:
    """The configurations of one family."""

    name: str
    means: Configurations
    group: int
    """Families of one group were run with the same configurations and seeds."""


def shifts(
    rows: pd.DataFrame, metrics: tuple[str, str], by: Sequence[str], options: FitOptions
) -> list[Shift]:
    """Every pair of families over all runs, then in every cell of ``by`` that both have configurations in.

    ``rows`` are labelled, with both metrics. Of ``options``, ``bootstrap``, ``seed`` and ``level`` are read.
    """
    members = _members(rows, metrics)
    found = _corrected(list(_shifts(members, {}, metrics, options, 0)), options.level)
    if not by:
        return found
    inside: list[Shift] = []
    for number, (values, _) in enumerate(rows.groupby(list(by), sort=True)):
        where = dict(zip(by, values))
        own = [part for one in members if (part := _within(one, where)) is not None]
        inside += _shifts(own, where, metrics, options, number + 1)
    return found + _corrected(inside, options.level)


def _members(rows: pd.DataFrame, metrics: tuple[str, str]) -> list[_Family]:
    """All families, their runs in one order, so that equal numbers stand for equal runs."""
    layouts: list[object] = []
    found = []
    for name in in_order(rows):
        part = rows[rows[FAMILY] == name]
        told = [texts_of(part[column]) for column in _TELLING if column in part]
        seeds = texts_of(part["seed"]) if "seed" in part else [""] * len(part)
        # Without seeds nothing says which runs belong together.
        layout: object = sorted(zip(*told)) if all(seeds) else name
        if layout not in layouts:
            layouts.append(layout)
        ordered = part.iloc[np.argsort(np.array(seeds), kind="stable")]
        found.append(_Family(name, aggregate(ordered, metrics), layouts.index(layout)))
    return found


def _within(family: _Family, where: dict[str, Any]) -> _Family | None:
    """The configurations of a family in one cell, with the seed noise of all; ``None`` if it has none."""
    table = family.means.table
    inside = np.logical_and.reduce([table[column] == value for column, value in where.items()])
    if not inside.any():
        return None
    return replace(family, means=replace(family.means, table=table[inside].reset_index(drop=True)))


def _shifts(
    members: Sequence[_Family],
    where: dict[str, Any],
    metrics: tuple[str, str],
    options: FitOptions,
    place: int,
) -> Iterator[Shift]:
    """Uncorrected; ``place`` numbers the cells."""
    signs = np.array([-1.0 if larger_is_better(name) else 1.0 for name in metrics])
    members = [one for one in members if len(one.means.table) >= MIN_CONFIGURATIONS]
    values = {one.name: _at_knee(one.means.table[list(metrics)].to_numpy(float), signs) for one in members}
    draws = {one.name: _draws(one, signs, options, place) for one in members}
    for first, second in combinations(members, 2):
        for column, quantity in enumerate((RHO, SLOPE)):
            before, after = (values[one.name][column] for one in (first, second))
            if not np.isfinite([before, after]).all():
                continue
            gap = draws[second.name][:, column] - draws[first.name][:, column]
            known = gap[np.isfinite(gap)]
            # A quantity that most draws leave undefined is not that of the families.
            enough = len(known) >= max(MIN_DRAWS, len(gap) / 2)
            paired = "paired" if first.group == second.group else "independent"
            yield Shift(
                where=where,
                quantity=quantity,
                first=first.name,
                second=second.name,
                first_value=float(before),
                second_value=float(after),
                difference=float(after - before),
                interval=_ends(known, options.level) if enough else None,
                p=two_sided(known) if enough else None,
                p_holm=None,
                draws=len(known),
                method=paired if enough else "none",
                differs=None,
            )


def _at_knee(points: Floats, signs: Floats) -> tuple[float, float]:
    """ρ* and the slope at the knee of points [n, 2]; NaN where one is not defined."""
    best = knee(points * signs)
    ratio = bool((signs > 0).all()) and bool((points[best] > 0).all())
    slope = slope_at_knee(points, signs, best)
    return (
        float(points[best, 1] / points[best, 0]) if ratio else np.nan,
        np.nan if slope is None else slope,
    )


def _draws(family: _Family, signs: Floats, options: FitOptions, place: int) -> Floats:
    """ρ* and slope under seed noise, [r, 2]; no rows without replicates. One group draws the same noise."""
    if not len(family.means.residuals) or not options.bootstrap:
        return np.empty((0, 2))
    generator = np.random.default_rng([options.seed, family.group, place])
    drawn = family.means.resample(generator, options.bootstrap)
    return np.array([_at_knee(part, signs) for part in drawn])


def _ends(draws: Floats, level: float) -> tuple[float, float]:
    low, high = interval(draws, level)
    return float(low), float(high)


def _corrected(found: list[Shift], level: float) -> list[Shift]:
    """With ``p_holm`` over all of one quantity, and ``differs``."""
    adjusted = list(found)
    for quantity in (RHO, SLOPE):
        own = [k for k, one in enumerate(found) if one.quantity == quantity]
        for k, p in zip(own, holm([found[k].p for k in own])):
            adjusted[k] = replace(found[k], p_holm=p, differs=None if p is None else p < 1 - level)
    return adjusted
