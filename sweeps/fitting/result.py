"""What a fit returns (parameters, intervals, bands, hold-out, diagnostics) and its record ``fit.json``."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from sweeps.diagnostics import Diagnostic, diagnose
from sweeps.fitting.bootstrap import interval
from sweeps.fitting.laws import Floats, Law, get_law
from sweeps.records import OPTIONAL, Record
from sweeps.table.runs import Source

EXTRAPOLATION_LIMIT = 4.0
"""Predictions farther than this factor outside the fitted range of N or D are flagged."""


@dataclass(frozen=True)
class FitOptions(Record):
    """How to fit. Every field changes numbers, and all are written to ``fit.json``."""

    loss: Literal["least-squares", "huber"] = "least-squares"
    huber_scale: float | None = None
    """Residual (in ln units) at which Huber turns linear; ``None``: 1.345 × robust residual scale."""
    unit: Literal["configuration", "run"] = "configuration"
    """``configuration``: means over seeds, seeds being replicates; ``run``: every row its own point."""
    starts: int = 96
    level: float = 0.95
    bootstrap: int = 1000
    """Bootstrap replicates; 0 for none (bands then come from the delta method)."""
    seed: int = 0
    chance: float | None = None
    """Chance level of the metric; ``None``: ln(W+1) for contrastive entropy when the table states W."""


@dataclass(frozen=True)
class Holdout(Record):
    """Prediction of points left out of the fit: the largest level of each axis in turn."""

    n: int
    """Number of configurations left out (largest model size where the law has one, else largest D)."""
    relative_error: float | None
    """Signed (predicted − observed)/observed of the worst of them; ``None``: no reduced fit is possible."""
    axis: str
    points: list[dict[str, Any]] = field(default_factory=list)
    """``axis, N, D, observed, predicted, relative_error`` of every point left out, all axes."""


@dataclass(frozen=True)
class Bootstrap(Record):
    """Cluster bootstrap: configurations are resampled, then seeds within them."""

    params: Floats
    """Published parameters of every kept replicate, [r, p]."""
    requested: int
    discarded: int
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Prediction(Record):
    """A fitted law at one size."""

    N: float
    D: float
    predicted: float
    mean_band: list[float]
    """Interval of the law itself."""
    run_band: list[float]
    """Interval for one new run."""
    observed: float | None
    relative_error: float | None
    """(predicted − observed)/observed."""
    warnings: list[Diagnostic]


@dataclass(frozen=True)
class FitResult(Record):
    """One fitted law. N in parameters, D in training pairs, unless the table used other units."""

    law: str
    metric: str
    params: dict[str, float]
    intervals: dict[str, tuple[float | None, float | None]]
    """Profile-likelihood intervals; ``None`` is an end that the data leave open."""
    r2: dict[str, float]
    """``linear``, ``log``, and both adjusted for the number of parameters."""
    rmse_log: float
    """Root mean squared residual of ln metric over the fitted points."""
    n_runs: int
    n_configs: int
    aicc: dict[str, float]
    """Corrected Akaike criterion of this and every comparable form; lower is better."""
    holdout: Holdout
    starts: dict[str, int]
    """``tried`` and ``agreeing`` (objective within 0.1 % of the best)."""
    warnings: list[Diagnostic]
    bootstrap: Bootstrap | None
    covariance: Floats
    """Asymptotic covariance [p, p] of the parameters, with ln A and ln B in place of A and B."""
    noise: dict[str, float | None]
    """``seed_sd`` (within configurations), ``residual_sd`` and ``run_sd`` (a new run), all in ln units."""
    lack_of_fit: dict[str, float] | None
    """Pure-error F test: ``f, p, df_model, df_error``; ``None`` without repeated seeds."""
    range: dict[str, tuple[float, float]]
    """Fitted range of N and D."""
    points: pd.DataFrame
    """Fitted points: ``N, D, observed, predicted, seeds, weight``."""
    chance: float | None = None
    options: FitOptions = field(default_factory=FitOptions)
    comparison: dict[str, Any] = field(default_factory=dict)
    """``forms`` (``aicc, delta_aicc, holdout`` of each), ``preferred`` and ``verdict``."""
    formula: str = ""
    predictions: list[Prediction] | None = field(default=None, metadata=OPTIONAL)
    """At rows held out and at sizes asked for."""
    source: Source | None = field(default=None, metadata=OPTIONAL)
    """Of a fit that is a file of its own."""

    @property
    def form(self) -> Law:
        """The law's functional form."""
        return get_law(self.law)

    @property
    def vector(self) -> Floats:
        """Parameters as an array [p] in the order of ``form.parameters``."""
        return self.form.vector(self.params)

    @property
    def codes(self) -> list[str]:
        """Codes of all warnings, in order."""
        return [warning.code for warning in self.warnings]

    def predict(self, n: ArrayLike, d: ArrayLike) -> Floats:
        """Metric at (N, D): float64 of the broadcast shape of ``n`` and ``d``."""
        return self.form.predict(self.params, n, d, self.chance)

    def mean_band(self, n: ArrayLike, d: ArrayLike, level: float | None = None) -> tuple[Floats, Floats]:
        """Interval of the law itself (the expected metric) at (N, D): lower and upper, shaped as predict."""
        return self._band(n, d, level, spread=0.0)

    def run_band(self, n: ArrayLike, d: ArrayLike, level: float | None = None) -> tuple[Floats, Floats]:
        """Interval for one new run at (N, D): the law's uncertainty plus scatter between runs."""
        return self._band(n, d, level, spread=float(self.noise["run_sd"] or 0.0))

    def prediction(self, n: float, d: float, observed: float | None = None) -> Prediction:
        """One predicted point with both bands, its error when ``observed`` is known, and what is doubtful."""
        value = float(self.predict(n, d))
        law, run = (tuple(map(float, band)) for band in (self.mean_band(n, d), self.run_band(n, d)))
        error = None if observed is None else value / observed - 1
        return Prediction(n, d, value, [*law], [*run], observed, error, self.check(n, d))

    def check(self, n: float, d: float) -> list[Diagnostic]:
        """What is doubtful about predicting at (N, D): far extrapolation, or a value above chance."""
        found = []
        for axis, value in (("N", n), ("D", d)):
            if axis not in self.form.axes:
                continue
            low, high = self.range[axis]
            factor = max(value / high, low / value)
            if factor > EXTRAPOLATION_LIMIT:
                text = (
                    f"{axis}={value:.4g} lies {factor:.3g}× outside the fitted range {low:.4g} to {high:.4g}"
                )
                found.append(diagnose("EXTRAPOLATION_FACTOR", text))
        value = float(self.predict(n, d))
        if self.chance is not None and value > self.chance:
            text = f"predicted {value:.4g} at N={n:.4g}, D={d:.4g} exceeds the chance level {self.chance:.4g}"
            found.append(diagnose("ABOVE_CHANCE_PREDICTION", text))
        return found

    def _band(self, n: ArrayLike, d: ArrayLike, level: float | None, spread: float) -> tuple[Floats, Floats]:
        level = level or self.options.level
        freedom = max(self.n_configs - self.form.size, 1)
        if self.bootstrap is None or self.bootstrap.params.shape[0] < 20:
            return self._delta_band(n, d, (1.0 - level) / 2, freedom, spread)
        logs = np.log(self.form.predict(self.bootstrap.params, n, d, self.chance))
        draws = logs.shape[0]
        order = np.random.default_rng(self.options.seed).permutation(draws)
        # One quantile of the run scatter per replicate: the mixture without Monte Carlo noise in its tails.
        scatter = spread * stats.t.ppf((order + 0.5) / draws, freedom)
        logs = logs + scatter.reshape(draws, *([1] * (logs.ndim - 1)))
        low, high = interval(logs, level)
        return np.exp(low), np.exp(high)

    def _delta_band(
        self, n: ArrayLike, d: ArrayLike, tail: float, freedom: int, spread: float
    ) -> tuple[Floats, Floats]:
        value = self.predict(n, d)
        gradient = np.stack([self._slope(n, d, index) for index in range(self.form.size)], axis=-1)
        variance = np.einsum("...i,ij,...j->...", gradient, self.covariance, gradient) + spread**2
        width = stats.t.ppf(1 - tail, freedom) * np.sqrt(np.maximum(variance, 0.0))
        return value * np.exp(-width), value * np.exp(width)

    def _slope(self, n: ArrayLike, d: ArrayLike, index: int) -> Floats:
        """d ln metric / d parameter, the parameter being ln A (ln B) for scales, by central differences."""
        sides = []
        logarithm = index in self.form.places("scale")
        step = 1e-6 if logarithm else 1e-6 * max(abs(self.vector[index]), 1e-3)
        for sign in (1.0, -1.0):
            moved = self.vector
            moved[index] = moved[index] * np.exp(sign * step) if logarithm else moved[index] + sign * step
            sides.append(np.log(self.form.predict(moved, n, d, self.chance)))
        return (sides[0] - sides[1]) / (2 * step)

    @classmethod
    def decode(cls, data: Any, where: str) -> Self:
        """As any record, but that an AICc that is not defined is infinite."""
        fit = super().decode(data, where)
        aicc = {name: np.inf if np.isnan(value) else value for name, value in fit.aicc.items()}
        return replace(fit, aicc=aicc)
