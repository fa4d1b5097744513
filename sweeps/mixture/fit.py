"""Fits mixture laws to a table of fixed-ω runs: the function behind ``python -m sweeps mixture``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from retrieval.errors import ConfigError
from sweeps.diagnostics import Diagnostic
from sweeps.laws import Floats
from sweeps.mixture import checks
from sweeps.mixture.compare import AXES, Comparison, compare, largest_level
from sweeps.mixture.optimum import GOALS, OptimumLaw, best_omega, drawn_omega, interval, optimum_laws
from sweeps.mixture.runs import Prepared, Sample, prepare
from sweeps.mixture.surface import Draws, Surface, draw_members
from sweeps.result import FitOptions

EFFECTIVENESS = "dev/eff/contrastive_entropy"
ROBUSTNESS = "dev/ood/contrastive_entropy"
DEV = "dev/"
"""Metrics whose names start so may steer training."""


@dataclass(frozen=True)
class MixtureOptions:
    """What is fitted and how; every field changes numbers and is written to ``mixture.json``."""

    eff: str = EFFECTIVENESS
    rob: str = ROBUSTNESS
    by: tuple[str, ...] = ("model", "frac")
    """Columns whose values make a cell."""
    forms: tuple[str, ...] = ()
    """Candidate forms by name; none: all."""
    fit: FitOptions = field(default_factory=lambda: FitOptions(loss="huber", starts=50, bootstrap=500))
    """Loss, starts, level, draws and seed."""

    @property
    def steers(self) -> bool:
        """Whether training may read the result: both metrics are dev metrics."""
        return self.eff.startswith(DEV) and self.rob.startswith(DEV)


@dataclass(frozen=True)
class Spread:
    """ω* of each goal with its interval at the points (N, D) [k]; arrays [k] by goal."""

    omega: dict[str, Floats]
    low: dict[str, Floats]
    high: dict[str, Floats]


@dataclass(frozen=True)
class HeldOut:
    """The knee's ω* of the cells with the largest N (D), predicted without them."""

    axis: str
    sample: Sample
    """What was left out."""
    predicted: Spread
    fitted: Floats
    """ω* with all runs, [k]."""
    regret: Floats
    """E + R [nats] at the predicted ω* less its least, under the law fitted to all runs, [k]."""


@dataclass(frozen=True)
class MixtureResult:
    """A fitted mixture law with everything that is reported about it."""

    options: MixtureOptions
    prepared: Prepared
    comparison: Comparison
    surface: Surface
    draws: Draws
    optimum: dict[str, OptimumLaw]
    cells: Spread
    """At every cell of the sample, in its order."""
    held: list[HeldOut]
    warnings: list[Diagnostic]

    @property
    def sample(self) -> Sample:
        """The configurations fitted."""
        return self.prepared.sample

    def at(self, n: float, d: float) -> Spread:
        """ω* of the joint law at one (N, D); arrays have one entry."""
        return spread(self.surface, self.draws, np.array([n]), np.array([d]), self.options.fit.level)


def fit_mixture(table: pd.DataFrame, options: MixtureOptions | None = None) -> MixtureResult:
    """Fit E and R over (ω, D, N) and the law of the best ω.

    Args:
        table: one row a run with the columns of ``result.json``; see :func:`sweeps.mixture.runs.prepare`.
        options: metrics, cells, candidate forms, loss, draws.

    Raises TableError and FitRefusedError (one line, exit status 2) and ConfigError on an unknown form or on
    fewer than 20 draws.
    """
    options = options or MixtureOptions()
    _check(options)
    prepared = prepare(table, options.eff, options.rob, options.by)
    comparison = compare(prepared.sample, options.fit, options.forms)
    surface = comparison.surface
    draws = draw_members(comparison.members(), options.fit.bootstrap, options.fit.seed)
    laws = optimum_laws(surface, draws)
    n, d = sizes(prepared.sample)
    cells = spread(surface, draws, n, d, options.fit.level)
    held = [item for axis in AXES if (item := _held_out(comparison, axis, options.fit)) is not None]
    result = MixtureResult(options, prepared, comparison, surface, draws, laws, cells, held, [])
    result.warnings.extend([*prepared.notes, *checks.check(result)])
    return result


def _check(options: MixtureOptions) -> None:
    from sweeps.mixture.forms import get_form

    for name in options.forms:
        get_form(name)
    if options.eff == options.rob:
        raise ConfigError(f"--eff and --rob are both {options.eff}; a mixture law needs two objectives")
    if options.fit.bootstrap < 20:
        raise ConfigError(f"--bootstrap {options.fit.bootstrap}: an interval needs at least 20 draws")


def sizes(sample: Sample, places: Sequence[int] | None = None) -> tuple[Floats, Floats]:
    """N and D [k] of the sample's cells, or of those at ``places``."""
    cells = [sample.cells[place] for place in (range(len(sample.cells)) if places is None else places)]
    return np.array([cell.n for cell in cells]), np.array([cell.d for cell in cells])


def spread(surface: Surface, draws: Draws, n: Floats, d: Floats, level: float) -> Spread:
    """ω* of the joint law at (N, D) [k] with percentile intervals over the draws."""
    own, drawn = best_omega(surface, n, d), drawn_omega(draws, n, d)
    ends = {goal: interval(drawn[goal], level) for goal in GOALS}
    return Spread(
        {goal: own[goal][0] for goal in GOALS},
        {goal: ends[goal][0] for goal in GOALS},
        {goal: ends[goal][1] for goal in GOALS},
    )


def _held_out(comparison: Comparison, axis: str, options: FitOptions) -> HeldOut | None:
    members = comparison.members(axis)
    if not members:
        return None
    surface, left = comparison.surface, comparison.sample.select(largest_level(comparison.sample, axis))
    n, d = sizes(left, left.used)
    draws = draw_members(members, options.bootstrap, options.seed)
    predicted = spread(members[0][1], draws, n, d, options.level)
    fitted = best_omega(surface, n, d)["knee"][0]
    sums = []
    for omega in (predicted.omega["knee"], fitted):
        eff, rob = surface.values(surface.sample.inputs.at(omega, n, d))
        sums.append(eff[0] + rob[0])
    return HeldOut(axis, left, predicted, fitted, sums[0] - sums[1])
