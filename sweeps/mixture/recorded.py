"""Makes the record ``mixture.json`` of a fitted mixture law."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from sweeps.fitting.estimate import Estimate
from sweeps.fitting.laws import Floats
from sweeps.fitting.points import Runs
from sweeps.mixture.checks import check_point
from sweeps.mixture.compare import Candidate
from sweeps.mixture.optimum import GOALS, OptimumLaw, interval
from sweeps.mixture.record import (
    VERSION,
    Bounded,
    FittedRange,
    FormFit,
    Held,
    Measured,
    Mixture,
    MixtureCell,
    Omega,
    OmegaPrediction,
    OnFrontier,
    Optimum,
)
from sweeps.mixture.result import HeldOut, MixtureResult, Spread
from sweeps.mixture.runs import Sample
from sweeps.mixture.surface import Bound
from sweeps.table.source import Source

T = TypeVar("T")

_CURVE = np.linspace(0.0, 1.0, 41)
"""ω at which the predicted frontier is written."""


def mixture_record(
    result: MixtureResult, predict: Sequence[tuple[float, float]] = (), source: Source | None = None
) -> Mixture:
    """The record of a law; ``predict``: further (N, D) at which ω* is wanted."""
    options, comparison, surface = result.options, result.comparison, result.surface
    own, level = result.draws.parts[0][1], options.fit.level
    return Mixture(
        kind="mixture",
        version=VERSION,
        metrics=_both(options.eff, options.rob),
        steers=options.steers,
        conditions=result.prepared.conditions,
        by=list(options.by),
        level=level,
        loss=options.fit.loss,
        bootstrap=options.fit.bootstrap,
        seed=options.fit.seed,
        n_runs=result.prepared.n_runs,
        n_left_out=result.prepared.n_left_out,
        n_configs=len(result.sample.inputs.omega),
        form=_both(*(form.name for form in surface.forms)),
        formula=_both(*(form.formula for form in surface.forms)),
        chosen_by=comparison.chosen_by,
        forms=_both(_forms(comparison.eff), _forms(comparison.rob)),
        params=_both(_params(surface.eff, own[0], level), _params(surface.rob, own[1], level)),
        rmse_log=_both(_rmse(surface.eff), _rmse(surface.rob)),
        holdout=[row for held in result.held for row in _held(held)],
        optimum={goal: _optimum(result, result.optimum[goal]) for goal in GOALS},
        cells=_cells(result),
        predictions=[_prediction(result, n, d) for n, d in predict],
        warnings=result.warnings,
        source=source,
    )


def _both(eff: T, rob: T) -> dict[str, T]:
    return {"eff": eff, "rob": rob}


def _forms(candidates: list[Candidate]) -> dict[str, FormFit]:
    """Forms of one objective, best first."""
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
    bound = part.law
    assert isinstance(bound, Bound)
    own = bound.form.publish(part.optimum.theta[None, :], bound.inputs)
    drawn = bound.form.publish(draws, bound.inputs)
    ends = {name: interval(drawn[name], level) for name in own}
    return {name: Bounded(float(own[name][0]), float(low), float(high)) for name, (low, high) in ends.items()}


def _rmse(part: Estimate) -> float:
    return float(np.sqrt((part.residuals**2).mean()))


def _omega(spread: Spread, goal: str, place: int) -> Omega:
    return Omega(*(float(part[goal][place]) for part in (spread.omega, spread.low, spread.high)))


def _held(held: HeldOut) -> list[Held]:
    cells = [held.sample.cells[place] for place in held.sample.used]
    return [
        Held(
            axis=held.axis,
            where=cell.where,
            params_non_embedding=cell.n,
            train_pairs=cell.d,
            goal="knee",
            predicted=_omega(held.predicted, "knee", i),
            fitted=float(held.fitted[i]),
            regret=float(held.regret[i]),
        )
        for i, cell in enumerate(cells)
    ]


def _optimum(result: MixtureResult, law: OptimumLaw) -> Optimum:
    inputs = result.sample.inputs
    low, high = interval(law.draws, result.options.fit.level)
    names = ("intercept", "ln_train_pairs", "ln_params_non_embedding")
    coefficients = dict(zip(names, map(float, law.coefficients)))
    return Optimum(
        **coefficients,
        low=dict(zip(names, low.tolist())),
        high=dict(zip(names, high.tolist())),
        draws=law.draws.tolist(),
        max_error=law.max_error,
        clipped=law.clipped,
        one_level=[axis for axis in ("D", "N") if inputs.levels(axis) == 1],
        range=FittedRange(*([float(size.min()), float(size.max())] for size in (inputs.n, inputs.d))),
    )


def _cells(result: MixtureResult) -> list[MixtureCell]:
    sample, found = result.sample, []
    measured = _measured(sample)
    for place, cell in enumerate(sample.cells):
        inputs = sample.inputs.at(_CURVE, np.array(cell.n), np.array(cell.d))
        eff, rob = (part[0].tolist() for part in result.surface.values(inputs))
        own = [measured[i] for i in np.flatnonzero(sample.cell == place)]
        found.append(
            MixtureCell(
                where=cell.where,
                params_non_embedding=cell.n,
                train_pairs=cell.d,
                n_runs=sum(one.n for one in own),
                optimum={goal: _omega(result.cells, goal, place) for goal in GOALS},
                frontier=[OnFrontier(*point) for point in zip(_CURVE.tolist(), eff, rob)],
                measured=own,
            )
        )
    return found


def _measured(sample: Sample) -> list[Measured]:
    """Every configuration."""
    eff, rob = np.exp(sample.eff.means()).tolist(), np.exp(sample.rob.means()).tolist()
    columns = (sample.inputs.omega.tolist(), eff, rob, sample.eff.counts.tolist())
    return [Measured(*one) for one in zip(*columns, _ranges(sample.eff), _ranges(sample.rob))]


def _ranges(runs: Runs) -> list[list[float]]:
    """Smallest and largest value over the seeds of each configuration."""
    values = np.exp(runs.log_y)
    parts = [values[runs.cluster == place] for place in range(len(runs.counts))]
    return [[float(part.min()), float(part.max())] for part in parts]


def _prediction(result: MixtureResult, n: float, d: float) -> OmegaPrediction:
    found = result.at(n, d)
    best = {goal: _omega(found, goal, 0) for goal in GOALS}
    return OmegaPrediction(n, d, best, check_point(result.sample, n, d))
