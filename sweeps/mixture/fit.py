"""Fits mixture laws to a table of fixed-ω runs: the function behind ``python -m sweeps mixture``."""

from __future__ import annotations

import pandas as pd

from retrieval.errors import ConfigError
from sweeps.fitting.result import FitOptions
from sweeps.mixture import checks
from sweeps.mixture.compare import AXES, Comparison, compare, largest_level
from sweeps.mixture.optimum import best_omega, optimum_laws
from sweeps.mixture.result import HeldOut, MixtureOptions, MixtureResult, sizes, spread
from sweeps.mixture.runs import prepare
from sweeps.mixture.surface import draw_members


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
