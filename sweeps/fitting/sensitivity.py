"""How effectiveness and robustness respond to model size and to data, and whether the two differ.

Two laws are fitted to two metrics of the *same* runs; the bootstrap draws the same configurations and seeds
for both, so that what they share cancels in the difference (arXiv 2505.24279 reports robustness to be more
sensitive to data and effectiveness more sensitive to model size; here that is a tested statement).

Two notions are reported. ``exponent``: α and β of the law, the slope of the reducible part. ``local``:
−∂ln metric/∂ln N and −∂ln metric/∂ln D at the centre of the sweep, floor included: the relative gain that
doubling a resource gives where the runs are. Exponents depend on the floor, local slopes hardly do.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pandas as pd

from sweeps import Progress
from sweeps.diagnostics import Diagnostic, TableError
from sweeps.fitting import checks
from sweeps.fitting.bootstrap import bootstrap, interval
from sweeps.fitting.fit import Prepared, prepare_fit
from sweeps.fitting.laws import Floats
from sweeps.fitting.points import Columns
from sweeps.fitting.result import FitOptions
from sweeps.records import OPTIONAL, Record
from sweeps.table.runs import Source


@dataclass(frozen=True)
class Difference(Record):
    """One sensitivity of two metrics to one resource."""

    resource: str
    """``N`` or ``D``."""
    kind: str
    """``exponent`` or ``local``."""
    first: float
    first_interval: tuple[float, float]
    second: float
    second_interval: tuple[float, float]
    difference: float
    """second − first."""
    interval: tuple[float, float]
    p: float
    """Two-sided paired bootstrap p-value of no difference."""

    def verdict(self, first: str, second: str, significant: float) -> str:
        """The difference in words, or that it is not established."""
        resource = {"N": "model size", "D": "data"}[self.resource]
        if self.p >= significant:
            return f"no established difference in sensitivity to {resource} ({self.kind}, p = {self.p:.2g})"
        more, less = (second, first) if self.difference > 0 else (first, second)
        return f"{more} is more sensitive to {resource} than {less} ({self.kind}, p = {self.p:.2g})"


@dataclass(frozen=True)
class Sensitivities(Record):
    """Sensitivities of two metrics, tested against each other."""

    first: str
    second: str
    law: str
    level: float
    draws: int
    centre: dict[str, float]
    """Geometric means of N and D, where the local slopes are taken."""
    differences: list[Difference]
    verdicts: list[str]
    """One sentence for each of them."""
    warnings: dict[str, list[Diagnostic]]


@dataclass(frozen=True)
class SensitivityFile(Record):
    """``sensitivity.json``."""

    command: ClassVar[str] = "sensitivity"

    by: str
    groups: dict[str, Sensitivities]
    refused: dict[str, str]
    """Group -> why it is not analysed."""
    source: Source | None = field(default=None, metadata=OPTIONAL)
    warnings: list[Diagnostic] | None = field(default=None, metadata=OPTIONAL)
    """Of rows that are in no group."""


def sensitivities(
    table: pd.DataFrame,
    first: str = "eff/contrastive_entropy",
    second: str = "ood/contrastive_entropy",
    *,
    law: str = "joint",
    columns: Columns | None = None,
    options: FitOptions | None = None,
    progress: Progress | None = None,
) -> Sensitivities:
    """Compare how two metrics of the same runs respond to N and to D.

    Args:
        table: one row a run with both metrics; of one strategy (others are refused as in a fit).
        first, second: metrics, positive and lower is better; differences are second − first.
        law: form fitted to both, by name.
        columns, options, progress: as in :func:`sweeps.fitting.fit.fit_law`.

    Raises TableError and FitRefusedError as a fit does, and TableError when no bootstrap is possible.
    """
    options = options or FitOptions()
    if options.bootstrap <= 0:
        raise TableError("sensitivities need a bootstrap; give --bootstrap 1000")
    fits = [
        prepare_fit(table, law, metric, columns, options, compare_forms=False) for metric in (first, second)
    ]
    sample = bootstrap([fit.fitted() for fit in fits], options.bootstrap, options.seed, progress)
    if not len(sample.params[0]):
        count, size = len(fits[0].estimate.points.log_y), fits[0].estimate.law.size
        raise TableError(
            f"{count} configurations are too few to resample a law of {size} parameters; run a larger sweep"
        )
    axes = fits[0].estimate.law.axes
    found = []
    for kind in ("exponent", "local"):
        for axis in axes:
            if kind == "exponent" and fits[0].estimate.law.exponent(axis) is None:
                continue
            estimates = [_value(fit, fit.estimate.published[None, :], kind, axis) for fit in fits]
            drawn = [_value(fit, params, kind, axis) for fit, params in zip(fits, sample.params)]
            found.append(_difference(axis, kind, estimates, drawn, options.level))
    warnings = {fit.metric: _doubts(fit) for fit in fits}
    centre = dict(zip(("N", "D"), _centre(fits[0])))
    said = [item.verdict(first, second, 1 - options.level) for item in found]
    draws = len(sample.params[0])
    return Sensitivities(first, second, law, options.level, draws, centre, found, said, warnings)


def _centre(fit: Prepared) -> tuple[float, float]:
    centre = fit.estimate.points.centre
    return float(np.exp(centre.log_n)), float(np.exp(centre.log_d))


def _value(fit: Prepared, params: Floats, kind: str, axis: str) -> Floats:
    """Exponent or local slope [r] for published parameters [r, p]."""
    place = fit.estimate.law.exponent(axis)
    if kind == "exponent" and place is not None:
        return params[:, place]
    return local_slope(fit, params, axis, _centre(fit))


def local_slope(fit: Prepared, params: Floats, axis: str, at: tuple[float, float]) -> Floats:
    """−∂ln metric/∂ln N or ∂ln D [r] at N and D of ``at`` for published parameters [r, p], by differences."""
    step = 1e-4
    values = []
    for sign in (1, -1):
        factor = np.exp(sign * step)
        n, d = (at[0] * factor, at[1]) if axis == "N" else (at[0], at[1] * factor)
        values.append(np.log(fit.estimate.law.predict(params, n, d, fit.estimate.objective.chance)))
    return -(values[0] - values[1]) / (2 * step)


def two_sided(gap: Floats) -> float:
    """p value of no difference from bootstrap draws [r] of one."""
    # Counting the observed table itself as a draw keeps p above 0 (Davison and Hinkley 1997, sec. 4.4.1).
    below, above = (gap <= 0).sum() + 1, (gap >= 0).sum() + 1
    return min(1.0, 2 * float(min(below, above)) / (len(gap) + 1))


def _difference(
    axis: str, kind: str, estimates: list[Floats], draws: list[Floats], level: float
) -> Difference:
    gap = draws[1] - draws[0]
    p = two_sided(gap)
    first, second = float(estimates[0][0]), float(estimates[1][0])
    ends = [(float(low), float(high)) for low, high in (interval(part, level) for part in (*draws, gap))]
    return Difference(axis, kind, first, ends[0], second, ends[1], second - first, ends[2], p)


def _doubts(fit: Prepared) -> list[Diagnostic]:
    rows = checks.check_rows(fit.by_configuration, fit.estimate.law.axes)
    open_ends = checks.check_intervals(fit.estimate, fit.profile.intervals, None)
    return [*fit.by_configuration.notes, *rows, *open_ends]
