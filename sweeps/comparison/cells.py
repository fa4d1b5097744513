"""Cells of a sweep: for each label its metrics by seed, and the fixed ω that can be chosen among."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from retrieval.errors import ConfigError, DataError
from retrieval.run.metric_names import larger_is_better
from sweeps.fitting.points import refuse_mixtures
from sweeps.frontier.trace import DEV

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


def cells(labelled: pd.DataFrame, metrics: Sequence[str], by: Sequence[str]) -> list[Cell]:
    """Cells of a labelled table, in order of ``by``; runs that lack a metric are left out.

    Raises ConfigError: unknown column; DataError: no run has all metrics; FitRefusedError: a cell mixes
    collections, pools, numbers of negatives or ways to count parameters.
    """
    for name in by:
        if name not in labelled:
            raise ConfigError(f"--by {name}: no such column; choose among model, frac, data, or '' for none")
    table = labelled.dropna(subset=list(metrics))
    if table.empty:
        raise DataError(f"no run has {' and '.join(metrics)}; run them with eval=quick or eval=full")
    groups = table.groupby(list(by), sort=True) if by else [((), table)]
    found = []
    for values, part in groups:
        for metric in metrics:
            refuse_mixtures(part, metric, several_strategies=True)
        found.append(_cell(dict(zip(by, values)), part, metrics))
    return found


def _cell(where: dict[str, Any], part: pd.DataFrame, metrics: Sequence[str]) -> Cell:
    values, repeated = {}, []
    for label, runs in part.groupby("label", sort=True):
        seeds = runs["seed"] if "seed" in runs else pd.Series(range(len(runs)), index=runs.index)
        columns = {name: pd.to_numeric(runs[name], errors="coerce") for name in metrics}
        table = pd.DataFrame(columns)
        if comparable(metrics):
            table[MEAN] = table.mean(axis=1)
        if set(DEV) <= set(runs):
            dev = runs[list(DEV)].apply(pd.to_numeric, errors="coerce")
            table[ON_DEV] = dev.mean(axis=1, skipna=False)
        values[str(label)] = table.groupby(seeds.to_numpy()).mean()
        if seeds.duplicated().any():
            repeated.append(str(label))
    return Cell(where, values, repeated)


def comparable(metrics: Sequence[str]) -> bool:
    """Whether a mean over the metrics has a unit: all are contrastive entropies, in nats."""
    return all(name.endswith("contrastive_entropy") for name in metrics)


def fixed_omegas(labelled: pd.DataFrame) -> dict[str, float]:
    """Label -> ω of the strategies that keep it, in order of ω; ``standard`` is ω = 0."""
    found = {"standard": 0.0} if (labelled["label"] == "standard").any() else {}
    if {"strategy", "omega/rule", "omega/final"} <= set(labelled):
        kept = (labelled["strategy"] == "pareto") & (labelled["omega/rule"] == "fixed")
        for label, part in labelled[kept].groupby("label"):
            found[str(label)] = float(pd.to_numeric(part["omega/final"], errors="coerce").iloc[0])
    return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))
