"""A linear mixed-effects model of the scores of one kind: which part the model explains, which part the data.

    score(run, query) = fixed(run) + run + collection + query(collection) + run × collection + residual

Strategy, model family, log N and log D are fixed effects, as far as they vary. Runs, collections and queries
are crossed random effects; seeds are runs. It is fitted by REML to the means of runs on collections
(:mod:`sweeps.robustness.components`), with statsmodels' ``MixedLM``. Intervals are Student's, with the
degrees of freedom between runs: queries add precision to a run, not runs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from retrieval.errors import ConfigError
from sweeps.comparison.cells import holm
from sweeps.diagnostics import Diagnostic, diagnose
from sweeps.fitting.configurations import label_order
from sweeps.fitting.points import PAIRS, SIZE
from sweeps.robustness.components import Cells, cells_of
from sweeps.robustness.record import Effect, Mixed
from sweeps.robustness.scores import Kind
from sweeps.robustness.words import effect_words
from sweeps.table.cells import Floats, is_blank, numbers, texts_of
from sweeps.table.families import FAMILY, families_of

MAX_RUNS = 600
"""A model of more runs takes minutes: its random effects are dense."""

_METHODS = ("lbfgs", "bfgs", "powell")
"""Optimisers of statsmodels in the order in which they are tried."""

_AT_ZERO = 1e-6
"""A variance below this share of the total lies on the limit."""


@dataclass(frozen=True)
class Column:
    """A fixed effect and its column of the design, [runs]."""

    name: str
    against: str
    values: Floats


def fixed_effects(kind: Kind, baseline: str) -> tuple[list[Column], list[Diagnostic]]:
    """The fixed effects that vary between the runs and can be told apart, and those that cannot."""
    kept: list[Column] = []
    basis = np.ones((len(kind.runs), 1))
    aliased = []
    for column in _candidates(kind, baseline):
        wider = np.column_stack([basis, column.values])
        if np.linalg.matrix_rank(wider) < wider.shape[1]:
            aliased.append(column.name)
        else:
            kept.append(column)
            basis = wider
    found = []
    if aliased:
        text = f"{kind.name}: left out, as other effects determine it in these runs: {', '.join(aliased)}"
        found.append(diagnose("EFFECTS_ALIASED", text))
    return kept, found


def _candidates(kind: Kind, baseline: str) -> Iterator[Column]:
    """All fixed effects: strategies and families against a first one, sizes in doublings about their mean."""
    runs = kind.runs
    labels = texts_of(runs["label"])
    factors = (("strategy", labels, baseline), (FAMILY, families_of(runs).to_numpy(), ""))
    for name, values, wanted in factors:
        levels = sorted(set(values), key=label_order)
        first = wanted if wanted in levels else levels[0]
        for level in levels:
            if level != first:
                yield Column(f"{name}={level}", str(first), np.asarray(values == level, dtype=np.float64))
    for name, key in (("doubling N", SIZE), ("doubling D", PAIRS)):
        if key in runs and not is_blank(runs[key]).any():
            size = numbers(runs[key])
            if (size > 0).all() and np.ptp(size) > 1e-3 * size.max():
                logs = np.log2(size)
                yield Column(name, "", logs - logs.mean())


def mixed_model(
    kind: Kind, metric: str, baseline: str, level: float
) -> tuple[Mixed | None, list[Diagnostic]]:
    """The model, or ``None`` with the reason; of ``kind.runs`` the label, family, N and D are read.

    Raises ConfigError: statsmodels is not installed.
    """
    columns, said = fixed_effects(kind, baseline)
    runs = len(kind.runs)
    freedom = runs - 1 - len(columns)
    if not columns or freedom < 1:
        text = f"{kind.name}: {runs} runs for {len(columns)} effects leave {max(freedom, 0)} to compare with"
        return None, [*said, diagnose("NO_MIXED_MODEL", text)]
    if runs > MAX_RUNS:
        text = (
            f"{kind.name}: {runs} runs are more than the {MAX_RUNS} that a model holds; keep fewer (--where)"
        )
        return None, [*said, diagnose("NO_MIXED_MODEL", text)]
    cells = cells_of(kind)
    design = np.column_stack([np.ones(runs), *(column.values for column in columns)])
    fit, found = _fitted(kind.name, cells, design)
    if fit is None:
        return None, [*said, *found]
    variances = _variances(fit, cells, design)
    total = sum(variances.values())
    spread = float(np.sqrt(cells.query_variance + cells.residual_variance))
    effects = _effects(fit, columns, (kind.name, metric), freedom, level, spread)
    terms = " + ".join(dict.fromkeys(column.name.split("=")[0] for column in columns))
    random = "run + collection + query" if len(cells.names) > 1 else "run + query"
    mixed = Mixed(
        formula=f"{metric} ~ {terms} + ({random})",
        n_runs=runs,
        n_scores=cells.scores,
        df=freedom,
        effects=effects,
        variances=variances,
        shares={name: value / total for name, value in variances.items()},
        query_sd=spread,
        converged=fit.converged,
    )
    return mixed, [*said, *found]


@dataclass(frozen=True)
class _Fit:
    """Estimates in the unit of the metric."""

    beta: np.ndarray
    covariance: np.ndarray
    run: float
    collection: float
    cell: float
    """Variance of a mean about its run's and its collection's effects."""
    converged: bool


def _fitted(name: str, cells: Cells, design: Floats) -> tuple[_Fit | None, list[Diagnostic]]:
    """REML; with one collection a run's effect and the residual are one, and least squares is exact."""
    scale = float(cells.mean.std()) or 1.0
    y, x = cells.mean / scale, design[cells.run]
    if len(cells.names) == 1:
        beta, *_ = np.linalg.lstsq(x, y, rcond=None)
        noise = float(((y - x @ beta) ** 2).sum()) / (len(y) - x.shape[1])
        inverse = np.linalg.inv(x.T @ x)
        # What queries and residual add to a run's mean is no difference between runs.
        run = max(0.0, noise - cells.residual_variance / float(cells.queries[0]) / scale**2)
        covariance = np.asarray(noise * inverse * scale**2)
        return _Fit(beta * scale, covariance, run * scale**2, 0.0, noise * scale**2, True), []
    parts = [_indicators(cells.run), _indicators(cells.collection)]
    result = _reml(y, x, parts)
    if result is None:
        text = f"{name}: no optimiser of {', '.join(_METHODS)} gave finite estimates"
        return None, [diagnose("NO_MIXED_MODEL", text)]
    variances, noise, converged = result
    found = []
    if not converged:
        text = f"{name}: none of {', '.join(_METHODS)} reached the optimum; the last estimates are given"
        found.append(diagnose("MIXED_MODEL_NOT_CONVERGED", text))
    limit = _AT_ZERO * (sum(variances) + noise)
    zero = [what for what, value in zip(("run", "collection"), variances) if value <= limit]
    if zero:
        found.append(diagnose("VARIANCE_AT_ZERO", f"{name}: the variance of {' and '.join(zero)} is 0"))
    beta, covariance = _generalised(y, x, parts, variances, noise)
    run, collection, cell = (value * scale**2 for value in (*variances, noise))
    return _Fit(beta * scale, covariance * scale**2, run, collection, cell, converged), found


def _reml(y: Floats, x: Floats, parts: list[Floats]) -> tuple[tuple[float, float], float, bool] | None:
    """Variances of the random parts, of the residual, and whether an optimiser says that it has converged."""
    mixed, specification = _statsmodels()
    names = [[[f"{k}:{j}" for j in range(part.shape[1])]] for k, part in enumerate(parts)]
    random = specification(["run", "collection"], names, [[part] for part in parts])
    best = None
    for method in _METHODS:
        with warnings.catch_warnings():
            # Its warnings come back as codes.
            warnings.simplefilter("ignore")
            try:
                result = mixed(y, x, groups=np.ones(len(y)), exog_vc=random).fit(reml=True, method=[method])
            except (np.linalg.LinAlgError, ValueError, FloatingPointError):
                continue
        variances = np.maximum(np.asarray(result.vcomp, dtype=np.float64), 0.0)
        if np.isfinite(variances).all() and np.isfinite(result.scale):
            best = (float(variances[0]), float(variances[1])), float(result.scale), bool(result.converged)
            if result.converged:
                break
    return best


def _statsmodels() -> tuple[Any, Any]:
    try:
        from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec
    except ImportError:
        raise ConfigError(
            "python -m sweeps robustness needs statsmodels: pip install 'paretrieve[robustness]'"
        ) from None
    return MixedLM, VCSpec


def _indicators(codes: Any) -> Floats:
    return np.asarray(codes[:, None] == np.unique(codes)[None, :], dtype=np.float64)


def _generalised(
    y: Floats, x: Floats, parts: list[Floats], variances: tuple[float, float], noise: float
) -> tuple[Floats, Floats]:
    """Generalised least squares under the variances: coefficients and their covariance."""
    v = noise * np.eye(len(y))
    for part, value in zip(parts, variances):
        v += value * part @ part.T
    weighted = np.linalg.solve(v, np.column_stack([x, y]))
    covariance = np.linalg.inv(x.T @ weighted[:, :-1])
    return covariance @ (x.T @ weighted[:, -1]), covariance


def _variances(fit: _Fit, cells: Cells, design: Floats) -> dict[str, float]:
    """The parts of the variance of one score; sampling of queries is taken out of what is between means."""
    size = float(cells.queries.mean())
    found = {"model": float((design @ fit.beta).var()), "run": fit.run}
    if len(cells.names) > 1:
        found["collection"] = max(0.0, fit.collection - cells.query_variance / size)
        found["run × collection"] = max(0.0, fit.cell - cells.residual_variance / size)
    return found | {"query": cells.query_variance, "residual": cells.residual_variance}


def _effects(
    fit: _Fit, columns: list[Column], what: tuple[str, str], freedom: int, level: float, spread: float
) -> list[Effect]:
    estimates = fit.beta[1:]
    errors = np.sqrt(np.diag(fit.covariance))[1:]
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * errors
    p = [
        float(2 * stats.t.sf(abs(b) / error, freedom)) if error > 0 else float(b == 0)
        for b, error in zip(estimates, errors)
    ]
    found = []
    for k, (column, adjusted) in enumerate(zip(columns, holm(p))):
        value, low, high = (float(n) for n in (estimates[k], estimates[k] - half[k], estimates[k] + half[k]))
        size = value / spread if spread > 0 else float("nan")
        adjusted = 1.0 if adjusted is None else adjusted
        words = effect_words(column.name, column.against, what, (value, low, high), size, adjusted, 1 - level)
        found.append(Effect(column.name, column.against, value, low, high, p[k], adjusted, size, words))
    return found
