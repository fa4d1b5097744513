"""Curves of attacks by strategy: the rate at which targets reach the top 10, against the budget spent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from retrieval.config.attack import FIRST
from sweeps.fitting.configurations import label_order
from sweeps.robustness.transfer import CELL
from sweeps.table.cells import numbers, texts_of

Floats = NDArray[np.float64]

_COLUMN = re.compile(r"adv/(?:(?P<attack>[^/]+)/)?curve/top10_rate@(?P<budget>\d+)")


@dataclass(frozen=True)
class AttackCurve:
    """One strategy under one attack: means over the runs of a cell, by budgets of 0 to m units."""

    attack: str
    label: str
    where: str
    runs: int
    rates: Floats
    """Share of the targets (of ``poison``: of the test queries) in the top 10, float64[m + 1]."""
    half: Floats
    """Half of Student's 95 % interval of each mean, float64[m + 1]; NaN with one run."""
    area: float
    """Mean area under the curve, as a share of the largest possible one."""
    area_half: float
    random: float | None
    """Mean rate of the control at the whole budget: as many edits, chosen at random."""
    bm25: float | None
    """Mean rate of BM25 with the same texts."""


def attack_curves(runs: pd.DataFrame) -> list[AttackCurve]:
    """The curves of every attack and strategy, in the cell in which most strategies were attacked.

    ``runs``: labelled. Runs without a curve (replays) are no part of a mean.
    """
    return [curve for attack, columns in _attacks(runs) for curve in _of(runs, attack, columns)]


def _attacks(runs: pd.DataFrame) -> Iterator[tuple[str, list[str]]]:
    """Each attack of the table, and the columns of its curve by budget."""
    found: dict[str, list[tuple[int, str]]] = {}
    for name in map(str, runs.columns):
        if match := _COLUMN.fullmatch(name):
            found.setdefault(match["attack"] or FIRST, []).append((int(match["budget"]), name))
    for attack in sorted(found):
        yield attack, [name for _, name in sorted(found[attack])]


def _of(runs: pd.DataFrame, attack: str, columns: list[str]) -> list[AttackCurve]:
    values = pd.DataFrame({name: numbers(runs[name]) for name in columns}, index=runs.index)
    whole = runs[values.notna().all(axis=1)]
    if whole.empty:
        return []
    parts = [texts_of(whole[name]) for name in CELL if name in whole]
    cells = pd.Series([" · ".join(filter(None, row)) for row in zip(*parts)] if parts else "", whole.index)
    counts = whole.groupby(cells)["label"].nunique()
    cell = str(counts.index[int(np.argmax(counts.to_numpy()))])
    chosen = whole[cells == cell]
    curves = []
    for label in sorted(chosen["label"].unique(), key=label_order):
        own = chosen[chosen["label"] == label]
        rates = values.loc[own.index].to_numpy()
        areas = np.trapezoid(rates, axis=1) / max(1, len(columns) - 1)
        curves.append(
            AttackCurve(
                attack,
                str(label),
                cell,
                len(own),
                rates.mean(axis=0),
                _half(rates),
                float(areas.mean()),
                float(_half(areas[:, None])[0]),
                _mean(own, f"adv/{attack}/random/top10_rate"),
                _mean(own, f"bm25/adv/{attack}/top10_rate"),
            )
        )
    return curves


def _half(values: Floats) -> Floats:
    """Half of the 95 % interval of the mean over rows, float64[k]."""
    count = len(values)
    if count < 2:
        return np.full(values.shape[1], np.nan)
    spread = values.std(axis=0, ddof=1) / np.sqrt(count)
    return np.asarray(stats.t.ppf(0.975, count - 1) * spread)


def _mean(runs: pd.DataFrame, column: str) -> float | None:
    if column not in runs:
        return None
    found = numbers(runs[column])
    found = found[np.isfinite(found)]
    return float(found.mean()) if len(found) else None
