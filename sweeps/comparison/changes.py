"""Whether a difference between two strategies depends on the size, or on anything else that makes a cell.

Differences of two cells are differenced once more, seed by seed: what a seed does to both cells cancels where
they share it. That both differ from 0 by much the same shows nothing; this is the test of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from retrieval.errors import ConfigError
from sweeps.comparison.cells import Cell, decided, difference, holm
from sweeps.comparison.record import Change
from sweeps.fitting.points import SIZE
from sweeps.table.cells import numbers

Pairs = Sequence[tuple[Cell, str]]
"""Cells with the label of the baseline in each."""


def ranks(runs: pd.DataFrame, column: str) -> dict[object, float]:
    """Value of a column -> its place: numbers as they are, models by their mean N, other words as text."""
    values = list(runs[column].unique())
    if all(isinstance(value, int | float | np.number) for value in values):
        return {value: float(value) for value in values}
    if column == "model" and SIZE in runs:
        sizes = {value: numbers(runs.loc[runs[column] == value, SIZE]) for value in values}
        return {value: float(np.nanmean(found)) for value, found in sizes.items()}
    return {value: float(place) for place, value in enumerate(sorted(values, key=str))}


def changes(
    pairs: Pairs,
    strategy: str,
    along: tuple[str, Mapping[object, float]],
    names: Sequence[str],
    level: float,
) -> list[Change]:
    """The difference in every cell, less that in the first cell along a column, all else being equal.

    ``along``: the column, and the :func:`ranks` of its values; ``names``: metrics. p values are corrected
    over all of them by Holm's method, each metric by itself; the index of every difference is the seed.

    Raises ConfigError: no two cells differ in the column alone.
    """
    column, order = along
    groups: dict[str, list[tuple[Cell, str]]] = {}
    for cell, chosen in pairs:
        other = {key: value for key, value in cell.where.items() if key != column}
        groups.setdefault(str(other), []).append((cell, chosen))
    found = []
    for group in groups.values():
        first, *rest = sorted(group, key=lambda pair: order[pair[0].where[column]])
        for one in rest:
            gains = [_gain(*pair, strategy) for pair in (first, one)]
            by = {name: difference(gains[0][name], gains[1][name], level) for name in names}
            found.append(Change(one[0].name, first[0].name, by))
    if not found:
        raise ConfigError(f"--change {column}: no two cells with both strategies differ in {column} alone")
    for name in names:
        for k, p in enumerate(holm([change.by[name].p for change in found])):
            judged = decided(found[k].by[name], name, p, level)
            found[k] = replace(found[k], by=found[k].by | {name: judged})
    return found


def _gain(cell: Cell, chosen: str, strategy: str) -> pd.DataFrame:
    """Strategy less baseline, a row a seed that both have."""
    return (cell.values[strategy] - cell.values[chosen]).dropna(how="all")
