"""Multipliers from fitted laws: one law in N and D for all runs, or a law in one axis for each slice."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sweeps import Progress
from sweeps.diagnostics import Diagnostic, FitRefusedError, diagnose
from sweeps.efficiency.multipliers import MIN_DRAWS, required
from sweeps.efficiency.record import Axis, EfficiencyOptions, Parts, Resource
from sweeps.fitting import checks
from sweeps.fitting.bootstrap import bootstrap
from sweeps.fitting.fit import Prepared, prepare_fit
from sweeps.fitting.laws import Floats, alone
from sweeps.fitting.points import PAIRS, SIZE, Columns

MIN_LEVELS = 3
GRID = 25

SPARE = 2
"""Configurations that a fit must have beyond its parameters for its draws to mean anything."""

Fits = dict[tuple[Any, ...], Prepared]
"""Fits by strategy, law, metric, size column and rows."""


@dataclass(frozen=True)
class FittedPair:
    """Both strategies' fits of every metric on the same slice, and their shared bootstrap draws."""

    baseline: list[Prepared]
    strategy: list[Prepared]
    draws: list[Floats]
    """Published parameters [r, p] in the order baseline, strategy of each metric."""

    @property
    def forms(self) -> str:
        """Names of the fitted forms."""
        return ", ".join(sorted({fit.estimate.law.name for fit in (*self.baseline, *self.strategy)}))

    def scale(self, levels: Floats) -> Floats:
        """The levels run, and a grid between them."""
        return np.unique(np.concatenate([np.geomspace(levels[0], levels[-1], GRID)[1:-1], levels]))

    def multiplier(self, k: int, axis: Axis, scale: Floats, other: float) -> tuple[Floats, Floats]:
        """Multiplier [s] of metric k at the scales, and its draws [r, s]; ``inf``: no amount suffices.

        Raises FitRefusedError where an exponent is so near 0 that its law cannot be inverted.
        """
        first, second = self.baseline[k].estimate, self.strategy[k].estimate
        n, d = (scale, other) if axis == "N" else (other, scale)

        def at(base: Floats, improved: Floats) -> Floats:
            target = second.law.predict(improved, n, d, second.objective.chance)
            base = base[..., None, :] if base.ndim > 1 else base
            return required(first.law, base, target, axis, other, first.objective.chance) / scale

        found = at(first.published, second.published)
        if np.isnan(found).any():
            text = f"an exponent of the {first.law.name} law is too near 0 to be inverted"
            raise FitRefusedError("EXPONENT_NOT_IDENTIFIED", text)
        return found, at(self.draws[2 * k], self.draws[2 * k + 1])


class FittedSource:
    """Fits laws to the runs of two strategies."""

    def __init__(
        self, parts: Parts, options: EfficiencyOptions, progress: Progress | None, fitted: Fits
    ) -> None:
        self.parts = parts
        self.law = options.law
        if options.law == "auto":
            levels = [part[column].nunique() for part in parts for column in (SIZE, PAIRS) if column in part]
            enough = len(levels) == 4 and min(levels) >= MIN_LEVELS and min(map(len, parts)) > 6
            self.law = "joint" if enough else "single"
        self.options = options
        self.progress = progress
        self.fitted = fitted
        self.warnings: list[Diagnostic] = []
        self._together: FittedPair | None = None

    def _is_joint(self, resource: Resource) -> bool:
        return resource != "FLOPs" and self.law != "single"

    def levels(self, resource: Resource) -> tuple[int, int]:
        """Two where one law describes all runs, three for a law of the slice's own."""
        return (2, 2) if self._is_joint(resource) else (MIN_LEVELS, MIN_LEVELS)

    def pair(self, parts: Parts, axis: Axis, columns: Columns, resource: Resource) -> FittedPair:
        """The slice's own fits, or those of all runs together."""
        if self._is_joint(resource):
            if self._together is None:
                self._together = self._fit(self.parts, self.law, columns)
            return self._together
        along = columns.n if axis == "N" else columns.d
        levels = min(part[along].nunique() for part in parts)
        form = alone(axis, floor=levels > MIN_LEVELS).name
        return self._fit(parts, form, columns)

    def _fit(self, parts: Parts, law: str, columns: Columns) -> FittedPair:
        metrics = self.options.metrics
        fits = [self._prepare(part, law, metric, columns) for metric in metrics for part in parts]
        labels = [str(part["label"].iloc[0]) for part in parts]
        names = [f"{label}, {metric}" for metric in metrics for label in labels]
        draws = self._draws(fits)
        if len(draws[0]) < MIN_DRAWS:
            fewest = min(len(fit.estimate.points.log_y) for fit in fits)
            text = f"{fewest} configurations are too few to resample {law}: its multipliers have no interval"
            self.warnings.append(diagnose("BOOTSTRAP_UNSTABLE", text))
        if any(not fit.by_configuration.seed_variance()[1] for fit in fits):
            self.warnings.append(diagnose("SINGLE_SEED", "a strategy has one seed a configuration"))
        for name, fit in zip(names, fits):
            doubts = checks.check_intervals(fit.estimate, fit.profile.intervals, None)
            open_ones = [item for item in doubts if item.code == "EXPONENT_NOT_IDENTIFIED"]
            self.warnings += [replace(item, message=f"{name}, {law}: {item.message}") for item in open_ones]
        return FittedPair(fits[0::2], fits[1::2], draws)

    def _draws(self, fits: list[Prepared]) -> list[Floats]:
        """Shared bootstrap draws of all fits; none where a fit has too few configurations to resample.

        With only one configuration more than parameters nearly all draws are the same, or saturated.
        """
        none = [np.empty((0, fit.estimate.law.size)) for fit in fits]
        options = self.options.fit
        enough = all(len(fit.estimate.points.log_y) >= fit.estimate.law.size + SPARE for fit in fits)
        if options.bootstrap <= 0 or not enough:
            return none
        return bootstrap(
            [fit.fitted() for fit in fits], options.bootstrap, options.seed, self.progress
        ).params

    def _prepare(self, part: pd.DataFrame, law: str, metric: str, columns: Columns) -> Prepared:
        key = (str(part["label"].iloc[0]), law, metric, columns.n, tuple(part.index))
        if key not in self.fitted:
            options = self.options.fit
            self.fitted[key] = prepare_fit(part, law, metric, columns, options, compare_forms=False)
        return self.fitted[key]
