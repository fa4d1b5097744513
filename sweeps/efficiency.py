"""Efficiency: how many times as much N, D or FLOPs the baseline needs to match a strategy.

With laws L_b of the baseline and L_s of the strategy, the multiplier on data at D is the m that solves
``L_b(N, m·D) = L_s(N, D)``; on model size and on training FLOPs likewise. The multiplier for both
objectives together is the larger of the two. Where the strategy's value lies at or below what the
baseline's law can reach, the multiplier is unbounded. arXiv 2505.24279 reports an efficiency without
defining it; this definition is the common one of compute multipliers and is ours to answer for.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from retrieval.errors import ConfigError, ParetrieveError
from sweeps import checks
from sweeps.bootstrap import Progress, bootstrap
from sweeps.configurations import FLOPS, label_runs
from sweeps.diagnostics import Diagnostic, diagnose
from sweeps.errors import FitRefusedError
from sweeps.fit import FitOptions, Prepared, prepare_fit
from sweeps.inverse import required
from sweeps.laws import Floats
from sweeps.multipliers import JOINT, MIN_DRAWS, doubts, headline, summary
from sweeps.points import PAIRS, SIZE, Columns

MIN_LEVELS = 3
GRID = 25

SPARE = 2
"""Configurations that a fit must have beyond its parameters for its draws to mean anything."""

Resource = Literal["N", "D", "FLOPs"]

Fits = dict[tuple[Any, ...], Prepared]
"""Fits by strategy, law, metric, size column and rows."""


@dataclass(frozen=True)
class EfficiencyOptions:
    """What is compared and how; all of it is written to ``efficiency.json``."""

    metrics: tuple[str, ...] = ("eff/contrastive_entropy", "ood/contrastive_entropy")
    law: str = "auto"
    """``joint`` or ``additive`` (all runs at once), ``single`` (one law a slice), or ``auto``: joint where
    both strategies have three sizes and three numbers of pairs."""
    resources: tuple[Resource, ...] = ("N", "D", "FLOPs")
    fit: FitOptions = field(default_factory=FitOptions)


@dataclass(frozen=True)
class _Pair:
    """Both strategies' fits of every metric on the same slice, and their shared bootstrap draws."""

    metrics: tuple[str, ...]
    baseline: list[Prepared]
    strategy: list[Prepared]
    draws: list[Floats]
    """Published parameters [r, p] in the order baseline, strategy of each metric."""

    def multiplier(
        self, k: int, axis: Literal["N", "D"], scale: Floats, other: float
    ) -> tuple[Floats, Floats]:
        """Multiplier [s] of metric k at the scales, and its draws [r, s]."""
        first, second = self.baseline[k].estimate, self.strategy[k].estimate
        n, d = (scale, other) if axis == "N" else (other, scale)

        def at(base: Floats, improved: Floats) -> Floats:
            target = second.law.predict(improved, n, d, second.objective.chance)
            base = base[..., None, :] if base.ndim > 1 else base
            return required(first.law, base, target, axis, other, first.objective.chance) / scale

        return at(first.published, second.published), at(self.draws[2 * k], self.draws[2 * k + 1])


def efficiency(
    runs: pd.DataFrame,
    baseline: str = "standard",
    strategy: str = "pareto",
    options: EfficiencyOptions | None = None,
    progress: Progress | None = None,
    fitted: Fits | None = None,
) -> dict[str, Any]:
    """Multipliers of ``strategy`` over ``baseline`` as the record written to ``efficiency.json``.

    Args:
        runs: one row a run with the columns of ``result.json``.
        baseline, strategy: labels as :func:`sweeps.configurations.strategy_label` gives them.
        options: metrics, form of the law, resources, fit.
        progress: called with (done, total) bootstrap draws of each set of fits.
        fitted: fits already made of the same table with the same options, filled as fits are made: several
            strategies compared with one baseline share its fits.

    Returns: ``baseline, strategy, metrics, law, level, curves, headline, refused, warnings``. Every curve
        has ``resource, at, scale`` and, for each metric and for ``joint``, ``multiplier, low, high``
        (numbers or ``"unbounded"``) and ``unbounded_share``.

    Raises:
        ConfigError: unknown strategy or metric.
        FitRefusedError: no resource varies enough for any multiplier.
    """
    options = options or EfficiencyOptions()
    first, second = _select(runs, baseline, strategy, options)
    comparison = _Comparison(
        first, second, _law(first, second, options), options, progress, {} if fitted is None else fitted
    )
    curves: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    for resource in options.resources:
        try:
            curves += comparison.curves(resource)
        except ParetrieveError as error:
            refused[resource] = str(error)
    if not curves:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise FitRefusedError("NO_MULTIPLIER", f"no resource gives a multiplier: {reasons}")
    warnings = [*comparison.warnings, *doubts(curves, strategy)]
    unique = {(item.code, item.message): item for item in warnings}.values()
    return {
        "baseline": baseline,
        "strategy": strategy,
        "metrics": list(options.metrics),
        "law": comparison.law,
        "level": options.fit.level,
        "curves": curves,
        # Curves of a resource are in order of the other one, so the largest stays.
        "headline": {item["resource"]: headline(item) for item in curves},
        "refused": refused,
        "warnings": [warning.to_json() for warning in unique],
    }


def _select(
    runs: pd.DataFrame, baseline: str, strategy: str, options: EfficiencyOptions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    labelled = label_runs(runs)
    known = sorted(labelled["label"].unique())
    for option, name in (("--baseline", baseline), ("--strategy", strategy)):
        if name not in known:
            raise ConfigError(f"{option} {name}: no such runs; the table has {', '.join(known)}")
    if baseline == strategy:
        raise ConfigError(f"--baseline and --strategy are both {baseline}; name two strategies")
    for metric in options.metrics:
        if metric not in runs:
            raise ConfigError(f"no column {metric}; choose a contrastive entropy that the runs measured")
    # A fit refuses a table of several strategies; within one label they are one.
    labelled = labelled.dropna(subset=list(options.metrics)).drop(columns="strategy", errors="ignore")
    return labelled[labelled["label"] == baseline], labelled[labelled["label"] == strategy]


def _law(first: pd.DataFrame, second: pd.DataFrame, options: EfficiencyOptions) -> str:
    if options.law != "auto":
        return options.law
    levels = [
        part[column].nunique() for part in (first, second) for column in (SIZE, PAIRS) if column in part
    ]
    enough = len(levels) == 4 and min(levels) >= MIN_LEVELS
    return "joint" if enough and min(len(first), len(second)) > 6 else "single"


class _Comparison:
    """Runs of two strategies and the fits made of them."""

    def __init__(
        self,
        first: pd.DataFrame,
        second: pd.DataFrame,
        law: str,
        options: EfficiencyOptions,
        progress: Progress | None,
        fitted: Fits,
    ) -> None:
        self.parts = (first, second)
        self.law = law
        self.options = options
        self.progress = progress
        self.fitted = fitted
        self.warnings: list[Diagnostic] = []
        self._together: _Pair | None = None

    def curves(self, resource: Resource) -> list[dict[str, Any]]:
        """Curves of one resource, one for every value of the other, the largest last."""
        axis: Literal["N", "D"] = "D" if resource == "D" else "N"
        columns = Columns(n=FLOPS if resource == "FLOPs" else SIZE)
        for name in (columns.n, columns.d):
            if any(name not in part for part in self.parts):
                raise FitRefusedError("FEWER_THAN_3_LEVELS", f"the runs do not say {name}")
        along, across = (columns.d, columns.n) if axis == "D" else (columns.n, columns.d)
        slices = sorted(set(self.parts[0][across]) & set(self.parts[1][across]))
        together = resource != "FLOPs" and self.law != "single"
        found = []
        for value in slices[-1:] if resource == "FLOPs" else slices:
            first, second = (part[part[across] == value] for part in self.parts)
            levels = min(first[along].nunique(), second[along].nunique())
            if levels < (2 if together else MIN_LEVELS):
                continue
            form = {"N": "model", "D": "data"}[axis] + ("" if levels > MIN_LEVELS else "-no-floor")
            pair = self._joint(columns) if together else self._fit((first, second), form, columns)
            at = {"name": _name(second, across, value), across: float(value)}
            curve = _curve(pair, axis, _scale(second[along]), float(value), self.options.fit.level)
            ran = {"baseline_range": [float(first[along].min()), float(first[along].max())]}
            found.append({"resource": resource, "at": at} | curve | ran)
        if not found:
            text = f"{along} has fewer than {MIN_LEVELS} values in common at every {across}"
            raise FitRefusedError("FEWER_THAN_3_LEVELS", text)
        return found

    def _joint(self, columns: Columns) -> _Pair:
        """One law in N and D for all runs, fitted once for both resources."""
        if self._together is None:
            self._together = self._fit(self.parts, self.law, columns)
        return self._together

    def _fit(self, parts: tuple[pd.DataFrame, pd.DataFrame], law: str, columns: Columns) -> _Pair:
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
        return _Pair(metrics, fits[0::2], fits[1::2], draws)

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


def _name(part: pd.DataFrame, across: str, value: float) -> str:
    if across == SIZE and "model" in part and part["model"].nunique() == 1:
        return str(part["model"].iloc[0])
    return f"{value:,.0f}" + (" pairs" if across == PAIRS else "")


def _scale(levels: pd.Series) -> Floats:
    """Where the multiplier is evaluated: the levels run, and a grid between them."""
    values = np.unique(levels.to_numpy(float))
    return np.unique(np.concatenate([np.geomspace(values[0], values[-1], GRID)[1:-1], values]))


def _curve(pair: _Pair, axis: Literal["N", "D"], scale: Floats, other: float, level: float) -> dict[str, Any]:
    found = [pair.multiplier(k, axis, scale, other) for k in range(len(pair.metrics))]
    if any(np.isnan(one).any() for one, _ in found):
        text = f"an exponent of the {pair.baseline[0].estimate.law.name} law is too near 0 to be inverted"
        raise FitRefusedError("EXPONENT_NOT_IDENTIFIED", text)
    joint = (np.max([one for one, _ in found], axis=0), np.max([draws for _, draws in found], axis=0))
    named = dict(zip((*pair.metrics, JOINT), (*found, joint)))
    forms = sorted({fit.estimate.law.name for fit in (*pair.baseline, *pair.strategy)})
    by = {name: summary(one, draws, level) for name, (one, draws) in named.items()}
    return {"law": ", ".join(forms), "scale": scale.tolist(), "by": by}
