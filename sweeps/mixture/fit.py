"""Fits mixture laws to a table of fixed-ω runs: the function behind ``python -m sweeps mixture``."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import pandas as pd

from retrieval.errors import ConfigError
from sweeps.fitting.bootstrap import interval
from sweeps.fitting.estimate import Estimate
from sweeps.fitting.laws import Floats
from sweeps.fitting.points import Runs
from sweeps.fitting.result import FitOptions
from sweeps.frontier.trace import DEV, steers
from sweeps.mixture import checks
from sweeps.mixture.compare import AXES, Candidate, Comparison, compare, largest_level
from sweeps.mixture.forms import FORMS
from sweeps.mixture.optimum import best_omega, optima, optimum_laws
from sweeps.mixture.record import (
    VERSION,
    Bounded,
    FormFit,
    Held,
    Measured,
    Mixture,
    MixtureCell,
    OmegaPrediction,
    OnFrontier,
)
from sweeps.mixture.runs import Cell, Prepared, Sample, prepare
from sweeps.mixture.surface import Draws, Surface, draw_members, form_of

T = TypeVar("T")

_CURVE = np.linspace(0.0, 1.0, 41)
"""ω at which the predicted frontier is written."""


@dataclass(frozen=True)
class MixtureOptions:
    """What is fitted and how; every field changes numbers and is written to ``mixture.json``."""

    eff: str = DEV[0]
    rob: str = DEV[1]
    by: tuple[str, ...] = ("model", "frac")
    """Columns whose values make a cell."""
    forms: tuple[str, ...] = ()
    """Candidate forms by name; none: all."""
    fit: FitOptions = field(default_factory=lambda: FitOptions(loss="huber", starts=50, bootstrap=500))
    """Loss, starts, level, draws and seed."""


def fit_mixture(
    table: pd.DataFrame, options: MixtureOptions | None = None, predict: Sequence[tuple[float, float]] = ()
) -> Mixture:
    """Fit E and R over (ω, D, N) and the law of the best ω, as the record written to ``mixture.json``.

    Args:
        table: one row a run with the columns of ``result.json``; see :func:`sweeps.mixture.runs.prepare`.
        options: metrics, cells, candidate forms, loss, draws.
        predict: further (N, D) at which ω* is wanted.

    Raises TableError and FitRefusedError (one line, exit status 2) and ConfigError on an unknown form or on
    fewer than 20 draws.
    """
    options = options or MixtureOptions()
    _check(options)
    prepared = prepare(table, options.eff, options.rob, options.by)
    comparison = compare(prepared.sample, options.fit, options.forms)
    draws = draw_members(comparison.members(), options.fit.bootstrap, options.fit.seed)
    record = _record(options, prepared, comparison, draws)
    said = []
    for n, d in predict:
        (best,) = optima(comparison.surface, draws, np.array([n]), np.array([d]), options.fit.level)
        said.append(OmegaPrediction(n, d, best, checks.check_point(prepared.sample, n, d)))
    found = checks.check(record, comparison.surface)
    return replace(record, predictions=said, warnings=[*prepared.notes, *found])


def _check(options: MixtureOptions) -> None:
    for name in options.forms:
        if name not in FORMS:
            raise ConfigError(f"mixture form {name} does not exist; choose one of {', '.join(FORMS)}")
    if options.eff == options.rob:
        raise ConfigError(f"--eff and --rob are both {options.eff}; a mixture law needs two objectives")
    if options.fit.bootstrap < 20:
        raise ConfigError(f"--bootstrap {options.fit.bootstrap}: an interval needs at least 20 draws")


def _record(options: MixtureOptions, prepared: Prepared, comparison: Comparison, draws: Draws) -> Mixture:
    surface, level, own = comparison.surface, options.fit.level, draws[0][1]
    return Mixture(
        kind="mixture",
        version=VERSION,
        metrics=_both(options.eff, options.rob),
        steers=steers(options.eff, options.rob),
        conditions=prepared.conditions,
        by=list(options.by),
        level=level,
        loss=options.fit.loss,
        bootstrap=options.fit.bootstrap,
        seed=options.fit.seed,
        n_runs=prepared.n_runs,
        n_left_out=prepared.n_left_out,
        n_configs=len(prepared.sample.inputs.omega),
        form=_both(*(form.name for form in surface.forms)),
        formula=_both(*(form.formula for form in surface.forms)),
        chosen_by=comparison.chosen_by,
        forms=_both(_forms(comparison.eff), _forms(comparison.rob)),
        params=_both(_params(surface.eff, own[0], level), _params(surface.rob, own[1], level)),
        rmse_log=_both(_rmse(surface.eff), _rmse(surface.rob)),
        holdout=[held for axis in AXES for held in _held_out(comparison, axis, options.fit)],
        optimum=optimum_laws(surface, draws, level),
        cells=_cells(surface, draws, level),
        predictions=[],
        warnings=[],
    )


def _both(eff: T, rob: T) -> dict[str, T]:
    return {"eff": eff, "rob": rob}


def _forms(candidates: list[Candidate]) -> dict[str, FormFit]:
    least = min(item.aicc for item in candidates)
    return {
        item.form.name: FormFit(
            formula=item.form.formula,
            source=item.form.source,
            parameters=item.estimate.law.size,
            aicc=item.aicc,
            delta_aicc=item.aicc - least,
            weight=item.weight,
            rmse_log=_rmse(item.estimate),
            holdout=item.error,
            errors={axis: errors.tolist() for axis, errors in item.errors.items()},
        )
        for item in candidates
    }


def _params(part: Estimate, draws: Floats, level: float) -> dict[str, Bounded]:
    form, inputs = form_of(part)
    own, drawn = form.publish(part.optimum.theta[None, :], inputs), form.publish(draws, inputs)
    ends = {name: interval(drawn[name], level) for name in own}
    return {name: Bounded(float(own[name][0]), float(low), float(high)) for name, (low, high) in ends.items()}


def _rmse(part: Estimate) -> float:
    return float(np.sqrt((part.residuals**2).mean()))


def _sizes(cells: Sequence[Cell]) -> tuple[Floats, Floats]:
    return np.array([cell.n for cell in cells]), np.array([cell.d for cell in cells])


def _held_out(comparison: Comparison, axis: str, options: FitOptions) -> list[Held]:
    """The knee's ω* of the cells with the largest N (D), predicted without them."""
    members = comparison.members(axis)
    if not members:
        return []
    surface, left = comparison.surface, comparison.sample.select(largest_level(comparison.sample, axis))
    cells = [left.cells[place] for place in np.unique(left.cell)]
    n, d = _sizes(cells)
    draws = draw_members(members, options.bootstrap, options.seed)
    predicted = [best["knee"] for best in optima(members[0][1], draws, n, d, options.level)]
    fitted = best_omega(surface, n, d)["knee"][0]
    sums = []
    for omega in (np.array([best.omega for best in predicted]), fitted):
        eff, rob = surface.values(surface.sample.inputs.at(omega, n, d))
        sums.append(eff[0] + rob[0])
    regret = sums[0] - sums[1]
    return [
        Held(
            axis=axis,
            where=cell.where,
            params_non_embedding=cell.n,
            train_pairs=cell.d,
            goal="knee",
            predicted=predicted[i],
            fitted=float(fitted[i]),
            regret=float(regret[i]),
        )
        for i, cell in enumerate(cells)
    ]


def _cells(surface: Surface, draws: Draws, level: float) -> list[MixtureCell]:
    sample, found = surface.sample, []
    measured = _measured(sample)
    n, d = _sizes(sample.cells)
    best = optima(surface, draws, n, d, level)
    for place, cell in enumerate(sample.cells):
        inputs = sample.inputs.at(_CURVE, np.array(cell.n), np.array(cell.d))
        eff, rob = (part[0].tolist() for part in surface.values(inputs))
        own = [measured[i] for i in np.flatnonzero(sample.cell == place)]
        found.append(
            MixtureCell(
                where=cell.where,
                params_non_embedding=cell.n,
                train_pairs=cell.d,
                n_runs=sum(one.n for one in own),
                optimum=best[place],
                frontier=[OnFrontier(*point) for point in zip(_CURVE.tolist(), eff, rob)],
                measured=own,
            )
        )
    return found


def _measured(sample: Sample) -> list[Measured]:
    eff, rob = np.exp(sample.eff.means()).tolist(), np.exp(sample.rob.means()).tolist()
    columns = (sample.inputs.omega.tolist(), eff, rob, sample.eff.counts.tolist())
    return [Measured(*one) for one in zip(*columns, _ranges(sample.eff), _ranges(sample.rob))]


def _ranges(runs: Runs) -> list[list[float]]:
    """Smallest and largest value over the seeds of each configuration."""
    values = np.exp(runs.log_y)
    parts = [values[runs.cluster == place] for place in range(len(runs.counts))]
    return [[float(part.min()), float(part.max())] for part in parts]
