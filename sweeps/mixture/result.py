"""What is fitted of a mixture law, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sweeps.diagnostics import Diagnostic
from sweeps.fitting.laws import Floats
from sweeps.fitting.result import FitOptions
from sweeps.mixture.compare import Comparison
from sweeps.mixture.optimum import GOALS, OptimumLaw, best_omega, drawn_omega, interval
from sweeps.mixture.runs import Prepared, Sample
from sweeps.mixture.surface import Draws, Surface

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
