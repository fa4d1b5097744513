"""Cells of a sweep: for each label its metrics by seed, which ω are fixed, and paired differences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from retrieval.errors import ConfigError, DataError
from retrieval.run.metric_names import is_contrastive_entropy, larger_is_better
from sweeps.comparison.record import Judged
from sweeps.diagnostics import Diagnostic, diagnose
from sweeps.fitting.agreement import refuse_mixtures
from sweeps.fitting.configurations import labelled_only
from sweeps.frontier.trace import DEV
from sweeps.table.cells import LeftOut, is_blank, numbers, seeds_of, with_numbers, with_values
from sweeps.table.families import FAMILY

MEAN = "mean"
"""Key of the mean over the metrics."""

ON_DEV = "mean over dev"
"""Name of the column that holds the mean over :data:`sweeps.frontier.trace.DEV`."""


@dataclass(frozen=True)
class Cell:
    """Runs that differ in strategy and seed alone."""

    where: dict[str, Any]
    values: dict[str, pd.DataFrame]
    """Label -> one row a seed, columns the metrics, ``mean`` and, where known, ``mean over dev``."""
    repeated: list[str]
    """Labels with several runs of one seed, which differ in a setting that no label names."""

    @property
    def name(self) -> str:
        """``bert-mini, frac 0.25``: values alone where they are words."""
        parts = [
            str(value) if isinstance(value, str) else f"{key} {value:g}" for key, value in self.where.items()
        ]
        return ", ".join(parts) or "all runs"

    def best(self, labels: Sequence[str], column: str) -> str | None:
        """The label among ``labels`` whose mean over seeds of ``column`` is best, the first of equals."""
        means = {
            label: float(self.values[label][column].mean())
            for label in labels
            if label in self.values and column in self.values[label]
        }
        means = {label: value for label, value in means.items() if np.isfinite(value)}
        if not means:
            return None
        return (max if larger_is_better(column) else min)(means, key=lambda label: means[label])


def complete(
    labelled: pd.DataFrame, metrics: Sequence[str], by: Sequence[str]
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """The runs that have all metrics and a value in each column of ``by``, and those left out.

    Raises ConfigError: unknown column; DataError: no run has all; TableError: a metric that is no number.
    """
    for name in by:
        if name not in labelled:
            raise ConfigError(f"--by {name}: no such column; choose among model, frac, data, or '' for none")
    table, unlabelled = labelled_only(labelled)
    table, lacking = with_numbers(table, metrics)
    if table.empty:
        raise DataError(f"no run has {' and '.join(metrics)}; run them with eval=quick or eval=full")
    table, nowhere = with_values(table, by)
    if table.empty:
        raise DataError(f"no run has a value of {' and '.join(by)}; choose other columns for --by")
    return table, [*unlabelled, *lacking, *nowhere]


def without_seed(labelled: pd.DataFrame) -> Iterator[Diagnostic]:
    """SEED_UNKNOWN where runs have no seed to be paired by."""
    blank = is_blank(labelled["seed"]) if "seed" in labelled else np.ones(len(labelled), dtype=bool)
    for rows in LeftOut.of(labelled, blank, "have no seed and are paired with none"):
        yield diagnose("SEED_UNKNOWN", str(rows))


def cells(table: pd.DataFrame, metrics: Sequence[str], by: Sequence[str]) -> list[Cell]:
    """Cells of :func:`complete` runs, in order of ``by``.

    Raises FitRefusedError: a cell mixes families, collections, pools, numbers of negatives or ways to count
    parameters.
    """
    groups = table.groupby(list(by), sort=True) if by else [((), table)]
    found = []
    for values, part in groups:
        for metric in metrics:
            refuse_mixtures(part, metric, several_strategies=True, by=",".join(dict.fromkeys([FAMILY, *by])))
        found.append(_cell(dict(zip(by, values)), part, metrics))
    return found


def _cell(where: dict[str, Any], part: pd.DataFrame, metrics: Sequence[str]) -> Cell:
    values, repeated = {}, []
    named = seeds_of(part)
    for label, runs in part.groupby("label", sort=True):
        seeds = named.loc[runs.index]
        table = runs[list(metrics)].copy()
        if comparable(metrics):
            table[MEAN] = table.mean(axis=1)
        if set(DEV) <= set(runs):
            table[ON_DEV] = np.mean([numbers(runs[name]) for name in DEV], axis=0)
        values[str(label)] = table.groupby(seeds.to_numpy()).mean()
        if seeds.duplicated().any():
            repeated.append(str(label))
    return Cell(where, values, repeated)


def comparable(metrics: Sequence[str]) -> bool:
    """Whether a mean over the metrics has a unit: all are contrastive entropies, in nats."""
    return all(map(is_contrastive_entropy, metrics))


def fixed_omegas(labelled: pd.DataFrame) -> dict[str, float]:
    """Label -> ω of the strategies that keep it, in order of ω; ``standard`` is ω = 0."""
    found = {"standard": 0.0} if (labelled["label"] == "standard").any() else {}
    if {"strategy", "omega/rule", "omega/final"} <= set(labelled):
        kept = (labelled["strategy"] == "pareto") & (labelled["omega/rule"] == "fixed")
        for label, part in labelled[kept].groupby("label"):
            found[str(label)] = float(numbers(part["omega/final"])[0])
    return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))


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


def decided(found: Judged, metric: str, p: float | None, level: float) -> Judged:
    """With its corrected ``p``, and which side is better where that is below 1 − ``level``."""
    better = None
    if p is not None and p < 1 - level:
        better = "strategy" if (found.difference > 0) == larger_is_better(metric) else "baseline"
    return replace(found, p_holm=p, better=better)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p values adjusted for their number (Holm 1979, Scand. J. Statist. 6(2)); ``None`` stays."""
    known = [(p, k) for k, p in enumerate(values) if p is not None]
    adjusted: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (p, k) in enumerate(sorted(known)):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[k] = largest
    return adjusted
