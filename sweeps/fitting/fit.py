"""Fits one law to one table: the function behind ``python -m sweeps fit``.

>>> result = fit_law(table, law="joint", metric="eff/contrastive_entropy")
>>> result.predict(8.5e7, 5e5), result.intervals["beta"], result.codes
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from sweeps import Progress
from sweeps.diagnostics import Diagnostic, FitRefusedError, TableError, diagnose
from sweeps.fitting import checks
from sweeps.fitting.bootstrap import Fitted, bootstrap, interval
from sweeps.fitting.estimate import Estimate, comparable_forms, compare, estimate, leave_largest_out
from sweeps.fitting.laws import Floats, Law, get_law
from sweeps.fitting.points import Columns, Runs, prepare
from sweeps.fitting.profile import Profile, covariance, noise_scale, profile_intervals
from sweeps.fitting.result import Bootstrap, FitOptions, FitResult, Holdout
from sweeps.table.cells import numbers

_PROFILE_ROUNDS = 3
_BOOTSTRAP_STARTS = 3


@dataclass(frozen=True)
class Prepared:
    """A point estimate with its intervals, before bootstrap: what paired analyses start from."""

    metric: str
    estimate: Estimate
    profile: Profile
    by_configuration: Runs
    """The rows grouped by configuration, whatever ``options.unit``."""
    comparison: dict[str, Any]

    def fitted(self) -> Fitted:
        """For :func:`sweeps.fitting.bootstrap.bootstrap`, alone or paired with others."""
        theta = self.estimate.optimum.theta
        starts = [theta]
        if len(self.profile.ends):
            # The ends of the last parameter's interval lie on both sides of the flat valley of the cost.
            starts += list(self.profile.ends[-2:])
        return Fitted(self.estimate.runs, self.estimate.objective, np.stack(starts[:_BOOTSTRAP_STARTS]))


def fit_law(
    table: pd.DataFrame | Mapping[str, Any],
    *,
    law: str = "joint",
    metric: str = "eff/contrastive_entropy",
    columns: Columns | None = None,
    options: FitOptions | None = None,
    compare_forms: bool = True,
    progress: Progress | None = None,
) -> FitResult:
    """Fit a scaling law to a table with one row a run.

    Args:
        table: columns as named by ``columns`` and ``metric``; rows that differ only in seed are replicates.
        law: a name in :data:`sweeps.fitting.laws.LAWS`, or ``auto`` for the form preferred by AICc
            (among forms it cannot tell apart, the one with the smaller hold-out error).
        metric: column to fit, positive, lower is better; a cost of any kind with a law that grows.
        columns: names of the columns for N, D, seed and run.
        options: see :class:`FitOptions`.
        compare_forms: also fit the other forms in the same axes (AICc, FORM_AMBIGUOUS).
        progress: called with (done, total) bootstrap draws.

    Raises TableError and FitRefusedError (both one line, exit status 2) and ConfigError on an unknown law.
    """
    options = options or FitOptions()
    prepared = prepare_fit(table, law, metric, columns, options, compare_forms)
    return fit_prepared(prepared, options, progress)


def prepare_fit(
    table: pd.DataFrame | Mapping[str, Any],
    law: str,
    metric: str,
    columns: Columns | None = None,
    options: FitOptions | None = None,
    compare_forms: bool = True,
) -> Prepared:
    """Point estimate, profile intervals and comparison of forms; arguments and errors as :func:`fit_law`."""
    options = options or FitOptions()
    columns = columns or Columns()
    axes = _varying_axes(pd.DataFrame(table), columns) if law == "auto" else get_law(law).axes
    grows = law != "auto" and get_law(law).grows
    grouped = prepare(table, metric, axes, columns, options.chance, average=options.unit != "run")
    if grows:
        grouped = replace(grouped, chance=None)
    _refuse_flat(grouped, axes, columns)
    runs = grouped
    if options.unit == "run":  # every row its own configuration, seeds being independent points
        runs = replace(grouped, cluster=np.arange(len(grouped.log_y)), independent=True)
    forms = comparable_forms(axes, grouped.chance, grows)
    comparison: dict[str, Any] = {}
    if law == "auto":
        law = str(compare(runs, forms, options)["preferred"])
    fitted = estimate(runs, get_law(law), options)
    fitted, profile = _profiled(fitted, options)
    if compare_forms:
        if fitted.law not in forms:
            forms = [*forms, fitted.law]
        comparison = compare(runs, forms, options, fitted.between)
    return Prepared(metric, fitted, profile, grouped, comparison)


def fit_prepared(prepared: Prepared, options: FitOptions, progress: Progress | None = None) -> FitResult:
    """Bootstrap, hold-out and diagnostics on top of :func:`prepare_fit`."""
    fitted, law, runs = prepared.estimate, prepared.estimate.law, prepared.estimate.runs
    held = leave_largest_out(runs, law, options, fitted.between)
    r2, rmse = _goodness(fitted)
    lack = _lack_of_fit(prepared.by_configuration, fitted)
    noise = _noise(prepared.by_configuration, fitted)
    sample = _bootstrap(prepared, options, progress)
    aicc = {name: form["aicc"] for name, form in prepared.comparison.get("forms", {}).items()}
    index = runs.first()
    points = pd.DataFrame(
        {
            "N": runs.n[index],
            "D": runs.d[index],
            "observed": np.exp(runs.means()),
            "predicted": np.exp(runs.means() + fitted.residuals),
            "seeds": runs.counts,
            "weight": fitted.points.weight,
        }
    )
    return FitResult(
        law=law.name,
        metric=prepared.metric,
        params=dict(zip(law.parameters, map(float, fitted.published))),
        intervals=prepared.profile.intervals,
        r2=r2,
        rmse_log=rmse,
        n_runs=len(runs.n),
        n_configs=len(prepared.by_configuration.counts),
        aicc=aicc or {law.name: fitted.aicc()},
        holdout=held,
        starts={"tried": fitted.optimum.tried, "agreeing": fitted.optimum.agreeing},
        warnings=_diagnose(prepared, options, r2, lack, noise, held, sample),
        bootstrap=sample,
        covariance=_covariance(fitted),
        noise=noise,
        lack_of_fit=lack,
        range={axis: (float(runs.size(axis).min()), float(runs.size(axis).max())) for axis in ("N", "D")},
        points=points,
        chance=fitted.objective.chance,
        options=options,
        comparison=prepared.comparison,
        formula=law.formula,
    )


def _varying_axes(frame: pd.DataFrame, columns: Columns) -> tuple[str, ...]:
    known = [("N", columns.n), ("D", columns.d)]
    axes = tuple(axis for axis, name in known if name in frame and len(_levels(frame[name])) > 1)
    if not axes:
        raise FitRefusedError(
            "FEWER_THAN_3_LEVELS",
            f"neither {columns.n} nor {columns.d} varies; a law needs a sweep over N or D",
        )
    return axes


def _levels(values: pd.Series) -> Floats:
    found = numbers(values)
    return np.unique(found[np.isfinite(found)])


def _refuse_flat(runs: Runs, axes: tuple[str, ...], columns: Columns) -> None:
    if len(runs.counts) < 2:
        raise TableError("the table has one configuration; a law needs at least three values of N or D")
    for axis in axes:
        size, name = runs.size(axis), columns.n if axis == "N" else columns.d
        if len(np.unique(size)) == 1:
            alone = {"N": "data", "D": "model"}[axis]
            hint = f"; fit --law {alone} instead" if len(axes) == 2 else "; vary it in the sweep"
            raise FitRefusedError(
                "FEWER_THAN_3_LEVELS", f"all rows have the same {axis} ({name} = {size[0]:.6g}){hint}"
            )


def _profiled(fitted: Estimate, options: FitOptions) -> tuple[Estimate, Profile]:
    """Profile intervals; when profiling meets a lower cost than the optimum's, fit on from there."""
    for _ in range(_PROFILE_ROUNDS):
        optimum = fitted.optimum
        profile = profile_intervals(fitted.objective, optimum.theta, optimum.cost, options.level)
        if profile.better is None:
            break
        theta, cost = fitted.objective.solve(profile.better[None, :], tolerance=1e-15)
        fitted = replace(fitted, optimum=replace(optimum, theta=theta[0], cost=float(cost[0]), agreeing=1))
    return fitted, profile


def _bootstrap(prepared: Prepared, options: FitOptions, progress: Progress | None) -> Bootstrap | None:
    law = prepared.estimate.law
    if options.bootstrap <= 0 or len(prepared.estimate.points.log_y) <= law.size:
        return None
    sample = bootstrap([prepared.fitted()], options.bootstrap, options.seed, progress)
    params = sample.params[0]
    if not len(params):
        return None
    ends = zip(law.parameters, *(part.tolist() for part in interval(params, options.level)))
    intervals = {name: (low, high) for name, low, high in ends}
    return Bootstrap(params, sample.requested, sample.discarded, intervals)


def _goodness(fitted: Estimate) -> tuple[dict[str, float], float]:
    """R² of metric and of ln metric over the fitted points, plain and adjusted, and rmse of ln metric."""
    logs, residuals = fitted.points.log_y, fitted.residuals
    observed, predicted = np.exp(logs), np.exp(logs + residuals)
    count, size = len(logs), fitted.law.size
    inflation = (count - 1) / (count - size) if count > size else float("nan")

    def share(errors: Floats, values: Floats) -> float:
        total = float(((values - values.mean()) ** 2).sum())
        return float((errors**2).sum()) / total if total > 0 else float("nan")

    linear, log = share(predicted - observed, observed), share(residuals, logs)
    r2 = {
        "linear": 1 - linear,
        "log": 1 - log,
        "linear_adjusted": 1 - inflation * linear,
        "log_adjusted": 1 - inflation * log,
    }
    return r2, float(np.sqrt((residuals**2).mean()))


def _lack_of_fit(runs: Runs, fitted: Estimate) -> dict[str, float] | None:
    """Pure-error F test (Draper and Smith, Applied Regression Analysis, 3rd ed., sec. 2.1)."""
    noise, freedom = runs.seed_variance()
    count = len(runs.counts) - fitted.law.size
    if not freedom or count <= 0 or noise <= 1e-24:
        return None
    # Least squares over rows is least squares over means weighted by their number of seeds.
    objective = replace(fitted.objective, points=runs.points(), huber=None)
    centred = fitted.law.to_centred(fitted.published, objective.points.centre)
    theta, _ = objective.solve(centred[None, :])
    squares = float((runs.counts * objective.residuals(theta)[0] ** 2).sum())
    f = squares / count / noise
    return {"f": f, "p": float(stats.f.sf(f, count, freedom)), "df_model": count, "df_error": freedom}


def _noise(runs: Runs, fitted: Estimate) -> dict[str, float | None]:
    """Standard deviations in ln units; a new run scatters by what its seed and its configuration add."""
    seed, freedom = runs.seed_variance()
    residual = noise_scale(fitted.objective, fitted.optimum.theta)
    if not np.isfinite(residual):
        return {"seed_sd": float(np.sqrt(seed)) if freedom else None, "residual_sd": None, "run_sd": None}
    extra = seed * (1 - float((1 / fitted.runs.counts).mean())) if freedom else 0.0
    return {
        "seed_sd": float(np.sqrt(seed)) if freedom else None,
        "residual_sd": float(np.sqrt(residual)),
        "run_sd": float(np.sqrt(max(residual + extra, seed))),
    }


def _covariance(fitted: Estimate) -> Floats:
    """Covariance with ln A, α, ln B, β, …: exponents themselves, not their logarithms."""
    law: Law = fitted.law
    scale = np.ones(law.size)
    for place in law.places("exponent"):
        scale[place] = fitted.published[place]
    return covariance(fitted.objective, fitted.optimum.theta) * np.outer(scale, scale)


def _diagnose(
    prepared: Prepared,
    options: FitOptions,
    r2: dict[str, float],
    lack: dict[str, float] | None,
    noise: dict[str, float | None],
    held: Holdout,
    sample: Bootstrap | None,
) -> list[Diagnostic]:
    fitted, runs = prepared.estimate, prepared.by_configuration
    law, intervals = fitted.law, prepared.profile.intervals
    found = [*runs.notes, *checks.check_rows(runs, law.axes)]
    found += checks.check_monotone(runs, law, noise["residual_sd"] or 0.0)
    found += checks.check_estimate(fitted, r2, lack)
    found += checks.check_intervals(fitted, intervals, sample)
    if len(fitted.points.log_y) > law.size:
        other = replace(
            options, loss="least-squares" if options.loss == "huber" else "huber", huber_scale=None
        )
        found += checks.check_objective(fitted, estimate(fitted.runs, law, other, fitted.between), intervals)
    found += checks.check_extrapolation(held, r2, noise["residual_sd"])
    if prepared.comparison:
        found += checks.check_forms(prepared.comparison, law.name)
    corner = law.predict(fitted.published, [runs.n.min()], [runs.d.min()], fitted.objective.chance)
    reached, chance = float(corner.max()), fitted.objective.chance
    if chance is not None and reached > chance:
        text = f"inside the fitted range the law reaches {reached:.4g}, above chance {chance:.4g}"
        found.append(diagnose("ABOVE_CHANCE_PREDICTION", text))
    return found
