"""Do training losses and dev metrics stand for test metrics? (arXiv 2505.24279, next check 2.)

A proxy is good for a choice if it ranks what is chosen among as the test metric does. So it is judged within
cells, where runs differ in what is chosen alone, which is ω, the strategy, or a setting such as the number of
steps: by its rank correlation with the test metric, and by what is lost when the run with the best proxy is
taken. Across cells a proxy that only follows N and D looks good.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy import stats

from retrieval.errors import ConfigError, DataError
from sweeps.comparison.cells import fixed_omegas
from sweeps.diagnostics import Diagnostic, diagnose
from sweeps.fitting.agreement import refuse_mixtures
from sweeps.fitting.configurations import label_runs, labelled_only
from sweeps.fitting.present import aligned, describe_warnings, number
from sweeps.frontier.trace import DEV, EFFECTIVENESS, ROBUSTNESS
from sweeps.records import OPTIONAL, Record
from sweeps.table.cells import cell_text, distinct, numbers, seeds_of, with_values
from sweeps.table.families import FAMILY, FIRST_STAGE
from sweeps.table.runs import Source
from sweeps.table.traces import PREFIX

TRAINING, VALIDATION = "training loss", "dev metric"
BOTH = "mean of both"

PROXIES: dict[str, dict[str, tuple[str, ...]]] = {
    TRAINING: {
        EFFECTIVENESS: (f"{PREFIX}loss_eff",),
        ROBUSTNESS: (f"{PREFIX}loss_rob",),
        BOTH: (f"{PREFIX}loss_eff", f"{PREFIX}loss_rob"),
    },
    VALIDATION: {EFFECTIVENESS: DEV[:1], ROBUSTNESS: DEV[1:], BOTH: DEV},
}
"""Proxy -> target -> the columns whose mean it is."""

AGREEMENT = {EFFECTIVENESS: f"{PREFIX}agree_eff", ROBUSTNESS: f"{PREFIX}agree_rob"}
"""Target -> the column of a run that compares its training loss with its dev loss, step by step."""

TARGETS = {EFFECTIVENESS: (EFFECTIVENESS,), ROBUSTNESS: (ROBUSTNESS,), BOTH: (EFFECTIVENESS, ROBUSTNESS)}

PLACES = (FAMILY, "model", "data", "frac")
"""Columns that say what a cell is; those that there are count."""

CHOICE, CELL = "choice", "cell"
"""Columns that :func:`alignment` adds: what is chosen among, and where."""

LEAST_CHOICES = 3
"""Choices of a cell that a rank correlation within it needs."""


@dataclass(frozen=True)
class Interval(Record):
    """A mean over cells or runs, with its t interval; no ends with fewer than two."""

    mean: float
    low: float | None
    high: float | None
    count: int
    """Cells or runs."""


@dataclass(frozen=True)
class Aligned(Record):
    """How well a proxy stands for a test metric."""

    proxy: str
    target: str
    across: float
    """Spearman's rank correlation over all configurations."""
    configurations: int
    within: Interval
    """The same among the choices of a cell, mean over cells and seeds."""
    regret: Interval
    """Test metric of the choice with the lowest proxy, less that of the best one of the cell, in nats."""


@dataclass(frozen=True)
class OverTraining(Record):
    """Whether a training loss falls where its dev loss falls, over the steps of a run."""

    label: str
    target: str
    agreement: Interval
    """Spearman's rank correlation over the logged steps that have both, mean over runs."""


@dataclass(frozen=True)
class Alignment(Record):
    """``alignment.json``."""

    command: ClassVar[str] = "alignment"
    level: float
    labels: list[str]
    """What the choice within a cell was among."""
    rows: list[Aligned]
    training: list[OverTraining] | None = field(default=None, metadata=OPTIONAL)
    """Of every strategy that measures dev losses as it goes."""
    source: Source | None = None
    warnings: list[Diagnostic] | None = field(default=None, metadata=OPTIONAL)
    along: str | None = field(default=None, metadata=OPTIONAL)
    """The column whose values were chosen among; ``None``: ω or the strategy."""

    @property
    def among(self) -> str:
        """What a choice was among, in words."""
        if self.along is None:
            return ", ".join(self.labels)
        return f"{self.along} {', '.join(label.partition('=')[2] for label in self.labels)}"


def alignment(
    runs: pd.DataFrame, level: float = 0.95, every: bool = False, along: str | None = None
) -> Alignment:
    """Judge training losses and dev metrics as proxies of test metrics.

    Args:
        runs: Rows with the columns of ``result.json`` and ``trace/…``; in nats, so lower is better.
        level: Of the intervals over cells.
        every: Choose among all strategies; otherwise among the fixed ω and ``standard``, where the data of a
            run do not change with the strategy.
        along: Choose among the values of this column, as ``train/steps``, within a strategy instead.

    Raises:
        ConfigError: ``along`` is no column or names the cell, or ``every`` is asked for as well.
        DataError: No cell has three choices with a proxy and its target.
    """
    if along is not None:
        _check_along(runs, along, every)
    refuse_mixtures(runs, EFFECTIVENESS, several_strategies=True, columns=(FAMILY, FIRST_STAGE))
    labelled, left = labelled_only(label_runs(runs))
    training = list(_over_training(labelled, level))
    cells, choices, labels = [*(name for name in PLACES if name in labelled)], labelled["label"], None
    if along is not None:
        labelled, blank = with_values(labelled, [along])
        left, cells, labels = [*left, *blank], [*cells, "label"], distinct(labelled[along])
        choices = labelled[along].map(cell_text)
    elif not every:
        labelled = labelled[labelled["label"].isin(list(fixed_omegas(labelled)))]
    labelled = _with_choices(labelled, cells, choices)
    rows = [
        judged
        for proxy, by_target in PROXIES.items()
        for target, columns in by_target.items()
        if (judged := _judge(_common(labelled, target), proxy, target, columns, level)) is not None
    ]
    if not rows:
        raise DataError(_too_few(along))
    labels = sorted(set(labelled[CHOICE])) if labels is None else [f"{along}={value}" for value in labels]
    warnings = [*(one.finding for one in left), *_mixed(labelled)] or None
    return Alignment(level, labels, rows, training or None, warnings=warnings, along=along)


def _check_along(runs: pd.DataFrame, along: str, every: bool) -> None:
    if every:
        raise ConfigError("--along and --every-strategy exclude each other: a choice is among one of them")
    hint = "try train/steps, or a setting that was swept"
    if along in ("seed", "strategy", "label", *PLACES):
        raise ConfigError(f"--along {along}: a cell has one {along} already; {hint}")
    if along not in runs:
        raise ConfigError(f"--along {along}: no such column; {hint}")


def _too_few(along: str | None) -> str:
    needed = "training losses or dev metrics beside test metrics"
    if along is None:
        return (
            f"no cell has {LEAST_CHOICES} strategies with {needed}; run several fixed ω at one model and "
            "data.frac, or give --every-strategy"
        )
    return (
        f"no cell has {LEAST_CHOICES} values of {along} with {needed}; run as many with one strategy, model, "
        "data.frac and seed"
    )


def _with_choices(labelled: pd.DataFrame, cells: Sequence[str], choices: pd.Series) -> pd.DataFrame:
    """The runs with the columns of what is chosen among, and of the cell in which it is chosen."""
    labelled = labelled.copy()
    labelled[CHOICE] = choices[labelled.index].astype(str)
    labelled[CELL] = [str(name) for name in zip(*(labelled[key] for key in cells), strict=True)]
    return labelled


def _common(labelled: pd.DataFrame, target: str) -> pd.DataFrame:
    """The runs that have every proxy of a target that any run has: the proxies face the same choices."""
    columns = {column for by_target in PROXIES.values() for column in by_target[target]}
    values = [numbers(labelled[column]) for column in columns if column in labelled]
    known = [np.isfinite(found) for found in values if np.isfinite(found).any()]
    return labelled.loc[np.all(known, axis=0)] if known else labelled


def _mixed(labelled: pd.DataFrame) -> Iterator[Diagnostic]:
    same = [CELL, CHOICE, "seed"]
    if "seed" in labelled and (twice := labelled.duplicated(same)).any():
        names = ", ".join(dict.fromkeys(labelled.loc[twice, "configuration"].astype(str)))
        text = f"several runs with the same seed, whose mean is judged, in: {names}"
        yield diagnose("MIXED_SETTINGS", text)


def _judge(
    labelled: pd.DataFrame, proxy: str, target: str, columns: Sequence[str], level: float
) -> Aligned | None:
    needed = {*columns, *TARGETS[target]}
    if not needed <= set(labelled):
        return None
    table = pd.DataFrame(
        {
            CELL: labelled[CELL],
            CHOICE: labelled[CHOICE],
            "seed": seeds_of(labelled).astype(str),
            "proxy": np.mean([numbers(labelled[name]) for name in columns], axis=0),
            "target": np.mean([numbers(labelled[name]) for name in TARGETS[target]], axis=0),
        }
    ).dropna()
    within, regret = [], []
    for _, cell in table.groupby(CELL):
        found = list(_choices(cell))
        if found:
            ranks, lost = zip(*found, strict=True)
            within.append(float(np.mean(ranks)))
            regret.append(float(np.mean(lost)))
    if not within:
        return None
    means = table.groupby([CELL, CHOICE])[["proxy", "target"]].mean()
    across = float(stats.spearmanr(means["proxy"], means["target"]).statistic)
    inside = _correlation(within, level)
    return Aligned(proxy, target, across, len(means), inside, _interval(regret, level))


def _choices(cell: pd.DataFrame) -> Iterator[tuple[float, float]]:
    """Of each seed of a cell: rank correlation, and what the choice by the proxy loses.

    The best choice is that of the mean over seeds, so that a seed's luck is no regret.
    """
    best = cell.groupby(CHOICE)["target"].mean().idxmin()
    for _, part in cell.groupby("seed"):
        own = part.groupby(CHOICE)[["proxy", "target"]].mean()
        if len(own) < LEAST_CHOICES or best not in own.index:
            continue
        proxy, target = own["proxy"].to_numpy(np.float64), own["target"].to_numpy(np.float64)
        if np.ptp(proxy) > 0:
            lost = target[proxy.argmin()] - target[list(own.index).index(best)]
            yield float(stats.spearmanr(proxy, target).statistic), float(lost)


def _over_training(labelled: pd.DataFrame, level: float) -> Iterator[OverTraining]:
    for target, column in AGREEMENT.items():
        if column not in labelled:
            continue
        for label, own in labelled.groupby(labelled["label"].astype(str)):
            values = own[column].dropna().tolist()
            if values:
                yield OverTraining(str(label), target, _correlation(values, level))


def _correlation(values: Sequence[float], level: float) -> Interval:
    """:func:`_interval` of rank correlations, none of which is beyond -1 and 1."""
    found = _interval(values, level)
    if found.low is None or found.high is None:
        return found
    return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))


def _interval(values: Sequence[float], level: float) -> Interval:
    found = np.array(values)
    mean, n = float(found.mean()), len(found)
    if n < 2:
        return Interval(mean, None, None, n)
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * found.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def proxy_rows(found: Alignment) -> list[list[str]]:
    """The table of proxies, its headings first."""
    rows = [["proxy", "of", "across", "within cells", "regret", "cells"]]
    for row in found.rows:
        judged = [f"{row.across:.2f}", _said(row.within), _said(row.regret), str(row.within.count)]
        rows.append([row.proxy, row.target, *judged])
    return rows


def describe(found: Alignment) -> list[str]:
    """Lines for the terminal."""
    return [
        f"Spearman's rank correlation with the test metric, and nats lost by a choice by the proxy "
        f"({100 * found.level:g} % over cells), among {found.among}:",
        *aligned(proxy_rows(found), left=2),
        *_over_steps(found),
        *describe_warnings(found.warnings or []),
    ]


def training_rows(found: Alignment) -> list[list[str]]:
    """The table of training losses over the steps of a run, its headings first."""
    return [
        ["strategy", "of", "agreement", "runs"],
        *(
            [row.label, row.target, _said(row.agreement), str(row.agreement.count)]
            for row in found.training or []
        ),
    ]


def _over_steps(found: Alignment) -> list[str]:
    if not found.training:
        return []
    title = "Rank correlation of a training loss with its dev loss over the steps of a run:"
    return ["", title, *aligned(training_rows(found), left=2)]


def _said(value: Interval) -> str:
    return f"{number(value.mean)} [{number(value.low)}, {number(value.high)}]"
