"""Multipliers as measured: the baseline's means joined by lines, with a paired bootstrap over seeds.

The bootstrap is a multiplier bootstrap of whole seeds (Wu 1986, Annals of Statistics 14(4)). A draw
multiplies each seed's deviations from the means by one random number, in all configurations of both
strategies and in all metrics at once, so whatever a seed does to both strategies cancels as it does in a
paired difference. The numbers are normal, and a draw as a whole has Student's scale with (fewest seeds − 1)
degrees of freedom. Where a multiplier is linear in the means, its interval is therefore the paired t
interval. Drawing seeds with replacement would not do: three seeds give ten different samples, none beyond
their range, and that range holds the truth in three of four cases.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrieval.run.metric_names import larger_is_better
from sweeps.diagnostics import Diagnostic, diagnose
from sweeps.efficiency.multipliers import reached
from sweeps.efficiency.record import INTERPOLATED, Axis, EfficiencyOptions, Parts, Resource
from sweeps.fitting.laws import Floats
from sweeps.fitting.points import Columns, prepare
from sweeps.fitting.replicates import UNKNOWN
from sweeps.fitting.result import FitOptions


@dataclass(frozen=True)
class Series:
    """Configuration means of one metric and strategy along a resource."""

    label: str
    metric: str
    size: Floats
    """Levels of the resource, rising, [m]."""
    log_y: Floats
    """Mean over seeds of ln metric, [m]; of −ln metric where more is better, so that lower is better."""
    seeds: list[str]
    ran: NDArray[np.bool_]
    """Whether seed and level were run, [seeds, m]."""
    deviations: Floats
    """Deviation from the mean over √(n·(n−1)), n the level's seeds, [seeds, m]; 0 where not run."""

    @property
    def counts(self) -> Floats:
        """Seeds of each level, [m]."""
        return np.asarray(self.ran.sum(axis=0), dtype=np.float64)

    def drawn(self, numbers: Floats) -> Floats:
        """Draws [r, m] of the means, given one random number a draw and seed, [r, seeds]."""
        return np.asarray(self.log_y + numbers @ self.deviations)


def series(part: pd.DataFrame, metric: str, axis: Axis, columns: Columns) -> Series:
    """Means and deviations of one strategy's runs on a slice; errors as ``prepare`` of the points raises."""
    runs = prepare(part, metric, None, columns, rising=True)
    size = runs.size(axis)
    log_y = -runs.log_y if larger_is_better(metric) else runs.log_y
    means = np.bincount(runs.cluster, log_y) / runs.counts
    seeds, row = np.unique(runs.replicate, return_inverse=True)
    ran = np.zeros((len(seeds), len(means)), dtype=bool)
    deviations = np.zeros(ran.shape)
    ran[row, runs.cluster] = True
    scale = np.sqrt(runs.counts * np.maximum(runs.counts - 1, 1))
    deviations[row, runs.cluster] = (log_y - means[runs.cluster]) / scale[runs.cluster]
    label = str(part["label"].iloc[0])
    return Series(label, metric, size[runs.first()], means, seeds.tolist(), ran, deviations)


@dataclass(frozen=True)
class MeasuredPair:
    """Both strategies' means of every metric on one slice, and their shared draws."""

    baseline: list[Series]
    strategy: list[Series]
    draws: list[tuple[Floats, Floats]]
    """Draws of the means of baseline and strategy, [r, levels] each, for every metric."""
    forms: str = INTERPOLATED

    def scale(self, levels: Floats) -> Floats:
        """The levels at which the strategy was run: between them it was not measured."""
        return levels

    def multiplier(self, k: int, axis: Axis, scale: Floats, other: float) -> tuple[Floats, Floats]:
        """Multiplier [s] of metric k at the strategy's levels, and its draws [r, s].

        ``inf``: more than the largest amount the baseline was run with; 0: less than the least.
        """
        base, better = self.baseline[k], self.strategy[k]
        x, weight = np.log(base.size), base.counts
        found = reached(x, base.log_y[None], weight, better.log_y[None])[0]
        curves, targets = self.draws[k]
        return found / scale, reached(x, curves, weight, targets) / scale


@dataclass
class MeasuredSource:
    """Joins what was measured by lines; two levels of the baseline and one of the strategy are enough."""

    options: EfficiencyOptions
    law: str = INTERPOLATED
    warnings: list[Diagnostic] = field(default_factory=list)

    def levels(self, resource: Resource) -> tuple[int, int]:
        """Two of the baseline, one of the strategy."""
        return 2, 1

    def pair(self, parts: Parts, axis: Axis, columns: Columns, resource: Resource) -> MeasuredPair:
        """Means and draws of one slice; what is doubtful about them goes into ``warnings``."""
        first, second = parts
        found = [
            (series(first, name, axis, columns), series(second, name, axis, columns))
            for name in self.options.metrics
        ]
        both = found[0]
        self.warnings += [*_unshared(both), *_pooled([base for base, _ in found], axis)]
        single = [f"{one.label} at {axis} = {size:.6g}" for one in both for size in one.size[one.counts < 2]]
        if single:
            text = f"no interval: one seed for {_listed(single)}"
            self.warnings.append(diagnose("SINGLE_SEED", text))
        return joined(found, self.options.fit)


def joined(found: Sequence[tuple[Series, Series]], options: FitOptions) -> MeasuredPair:
    """Baseline and strategy of every metric with shared draws; no draws where a level has one seed.

    One random number belongs to a seed, wherever it was run: this is what pairs the strategies and metrics.
    """
    every = [one for pair in found for one in pair]
    seeds = sorted({seed for one in every for seed in one.seeds})
    freedom = int(min(one.counts.min() for one in every)) - 1
    count = max(options.bootstrap, 0) if freedom > 0 else 0
    generator = np.random.default_rng(options.seed)
    numbers = generator.standard_normal((count, len(seeds)))
    if count:
        numbers *= np.sqrt(freedom / generator.chisquare(freedom, size=(count, 1)))

    def drawn(one: Series) -> Floats:
        return one.drawn(numbers[:, [seeds.index(seed) for seed in one.seeds]])

    draws = [(drawn(first), drawn(second)) for first, second in found]
    return MeasuredPair([first for first, _ in found], [second for _, second in found], draws)


def _unshared(both: Sequence[Series]) -> Iterator[Diagnostic]:
    """SEEDS_NOT_SHARED where a seed of one strategy's level was not run everywhere else."""
    seeds = sorted({seed for one in both for seed in one.seeds})
    lacking = []
    for one in both:
        for seed in seeds:
            ran = one.ran[one.seeds.index(seed)] if seed in one.seeds else np.zeros(len(one.size), bool)
            if not ran.all():
                if seed.startswith(UNKNOWN):
                    continue
                where = "" if not ran.any() else " at " + ", ".join(f"{size:.6g}" for size in one.size[~ran])
                # Repeats of one seed are counted from #1.
                lacking.append(f"{one.label} lacks seed {seed.removesuffix('#0')}{where}")
    if any(seed.startswith(UNKNOWN) for seed in seeds):
        lacking.append("some runs have no seed")
    if lacking:
        text = f"{_listed(lacking)}; what only one side has is resampled on its own, not paired"
        yield diagnose("SEEDS_NOT_SHARED", text)


def _pooled(baselines: Sequence[Series], axis: Axis) -> Iterator[Diagnostic]:
    """LEVELS_POOLED where the baseline's mean rises, so that neighbours count as one point."""
    for one in baselines:
        rises = np.flatnonzero(np.diff(one.log_y) >= 0)
        if len(rises):
            steps = [
                f"{100 * np.expm1(one.log_y[i + 1] - one.log_y[i]):.2g} % from {axis} = {one.size[i]:.6g} "
                f"to {one.size[i + 1]:.6g}"
                for i in rises
            ]
            text = f"{one.label}, {one.metric} gets worse by {', '.join(steps)}"
            yield diagnose("LEVELS_POOLED", text)


def _listed(items: Sequence[str], shown: int = 4) -> str:
    return ", ".join(items[:shown]) + (f" and {len(items) - shown} more" if len(items) > shown else "")
