"""One form fitted to E and to R of the same runs, with draws that say how well they determine it.

The form is bound to the configurations of a table and given to the fitter of scaling laws (many starts,
ln residuals, least squares or Huber, weights from seeds): see :mod:`sweeps.fitting.estimate`.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from sweeps.fitting.estimate import Estimate, estimate, huber
from sweeps.fitting.laws import Floats, Law, Parameter, Points
from sweeps.fitting.points import Runs
from sweeps.fitting.result import FitOptions
from sweeps.mixture.forms import Form, Inputs
from sweeps.mixture.runs import Sample

Theta = tuple[Floats, Floats]
"""Something of E and of R: parameters, each [r, p], or values, each [r, k]."""

_STEP = 1e-7
_MAX_LEVERAGE = 0.95
_DRAW_TOLERANCE = 1e-7


class Bound(Law):
    """A form at the configurations of a table: a law of which the fitter knows only values and bounds."""

    axes = ("D",)

    def __init__(self, form: Form, inputs: Inputs) -> None:
        """Bind ``form``; a parameter that these inputs do not determine is held by equal bounds."""
        self.form, self.inputs = form, inputs
        self.name, self.formula, self.help = form.name, form.formula, form.source
        self.kinds = tuple(Parameter(parameter.name, "coefficient") for parameter in form.parameters)
        free = form.free(inputs)
        ends = [(p.low, p.high) if f else (p.frozen, p.frozen) for p, f in zip(form.parameters, free)]
        self.low, self.high = np.array(ends).T

    def at(self, inputs: Inputs) -> Bound:
        """The same form with the same bounds at other configurations."""
        moved = copy(self)
        moved.inputs = inputs
        return moved

    @property
    def size(self) -> int:
        """Number of free parameters."""
        return int((self.low < self.high).sum())

    def bounds(self, upper_floor: float) -> tuple[Floats, Floats]:
        """Lower and upper bounds [p]."""
        return self.low, self.high

    def starts(self, points: Points, count: int) -> Floats:
        """``count`` starts [r, p], spread evenly over the ranges of the parameters, scales solved for."""
        form = self.form
        generator = np.random.default_rng(0)
        orders = [generator.permutation(count) for _ in self.parameters]
        even = (np.stack(orders, axis=1) + 0.5) / count
        ranges = np.array([parameter.start for parameter in form.parameters])
        theta = ranges[:, 0] + even * (ranges[:, 1] - ranges[:, 0])
        theta = np.where(self.low < self.high, theta, self.low)
        return np.clip(form.project(theta, self.inputs, points.log_y), self.low, self.high)

    def values(self, centred: Floats, u: Floats, v: Floats, chance: float | None = None) -> Floats:
        """Values [r, m] at the bound configurations."""
        return self.form.values(centred, self.inputs)

    def evaluate(
        self, centred: Floats, u: Floats, v: Floats, chance: float | None = None, jacobian: bool = True
    ) -> tuple[Floats, Floats]:
        """Values [r, m] at the bound configurations and their Jacobian by differences [r, m, p]."""
        values = self.values(centred, u, v)
        jac = np.zeros((*values.shape, len(self.parameters) if jacobian else 0))
        for place in np.flatnonzero(self.low < self.high) if jacobian else ():
            moved = centred.copy()
            moved[:, place] += _STEP
            jac[:, :, place] = (self.values(moved, u, v) - values) / _STEP
        return values, jac


@dataclass(frozen=True)
class Surface:
    """E and R over (ω, D, N), each under a form of its own."""

    sample: Sample
    eff: Estimate
    rob: Estimate

    @property
    def theta(self) -> Theta:
        """Estimates [1, p] of E and of R, in the coordinates of their forms."""
        return self.eff.optimum.theta[None, :], self.rob.optimum.theta[None, :]

    @property
    def forms(self) -> tuple[Form, Form]:
        """The forms of E and of R."""
        return form_of(self.eff)[0], form_of(self.rob)[0]

    def values(self, inputs: Inputs, theta: Theta | None = None) -> Theta:
        """E and R [r, k] at ``inputs``; ``theta``: parameters [r, p] of both, by default the estimates."""
        (eff, rob), (first, second) = theta or self.theta, self.forms
        return first.values(eff, inputs), second.values(rob, inputs)


def form_of(fitted: Estimate) -> tuple[Form, Inputs]:
    """The form behind an estimate of :func:`fit`, and the inputs that it is bound to."""
    assert isinstance(fitted.law, Bound)
    return fitted.law.form, fitted.law.inputs


def fit(runs: Runs, inputs: Inputs, form: Form, options: FitOptions) -> tuple[Estimate, Estimate]:
    """Fit ``form`` to one objective by least squares and, from there, by the loss of ``options``.

    ``runs`` holds the objective; its configurations are those of ``inputs``, in the same order. Of
    ``options``, loss, Huber scale and number of starts count.
    """
    plain = replace(options, loss="least-squares", huber_scale=None)
    squares = estimate(runs, Bound(form, inputs), plain)
    if options.loss == "least-squares":
        return squares, squares
    objective, optimum = huber(runs, squares.objective, squares.optimum, options)
    return squares, replace(squares, objective=objective, optimum=optimum)


Draws = list[tuple[Surface, Theta]]
"""Parameters [r_i, p_i] of E and R under several pairs of forms, the r_i adding up to the number of draws:
what the noise and the choice of forms leave open together."""


def draw_members(members: list[tuple[float, Surface]], count: int, seed: int) -> Draws:
    """``count`` draws (see :func:`draw`), shared out among weighted pairs of forms by largest remainders."""
    weights = np.array([weight for weight, _ in members])
    share = count * weights / weights.sum()
    counts = np.floor(share).astype(int)
    counts[np.argsort(counts - share, kind="stable")[: count - counts.sum()]] += 1
    return [(surface, draw(surface, int(n), seed)) for n, (_, surface) in zip(counts, members) if n]


def draw(surface: Surface, count: int, seed: int) -> Theta:
    """Parameters of E and of R, each [count, p], under the noise that the residuals show.

    A residual bootstrap: each configuration gets its fitted value and the residual of a configuration drawn
    at random, the same one in both objectives, because what shifts E of a run shifts R too. Residuals are
    divided by the square root of 1 − leverage (Davison and Hinkley 1997, sec. 6.3.2), not smaller than seed
    noise, and each draw is scaled by √(ν/χ²_ν), ν = m − p, so that intervals are Student's and not normal
    ones. What a form misses beyond its residuals is not in the draws: see the hold-out.
    """
    generator = np.random.default_rng(seed)
    parts = (surface.eff, surface.rob)
    standard = [_standardised(part) for part in parts]
    count_m = len(standard[0])
    freedom = max(count_m - max(part.law.size for part in parts), 1)
    chosen = generator.integers(count_m, size=(count, count_m))
    scale = np.sqrt(freedom / generator.chisquare(freedom, size=count))[:, None]
    found = []
    for part, residuals in zip(parts, standard):
        points = part.points
        target = points.log_y + part.residuals + residuals[chosen] * scale / np.sqrt(points.weight)
        start = np.repeat(part.optimum.theta[None, :], count, axis=0)
        found.append(part.objective.solve(start, target, tolerance=_DRAW_TOLERANCE, iterations=100)[0])
    return found[0], found[1]


def relative_slopes(part: Estimate, inputs: Inputs | None = None) -> Floats:
    """d ln metric / d parameter [k, p] at the estimate, free parameters within their bounds only.

    ``inputs``: other points than the fitted ones.
    """
    theta, law = part.optimum.theta, part.law
    if inputs is not None:
        assert isinstance(law, Bound)
        law = law.at(inputs)
    values, jac = law.evaluate(theta[None, :], part.points.u, part.points.v)
    low, high = law.bounds(np.inf)
    return np.asarray((jac[0] / values[0][:, None])[:, (theta > low) & (theta < high)])


def prediction_variance(part: Estimate, inputs: Inputs) -> Floats:
    """Covariance [k, k] of a new configuration's ln metric about its prediction, in units of the scatter²."""
    fitted = relative_slopes(part) * np.sqrt(part.points.weight)[:, None]
    new = relative_slopes(part, inputs)
    return np.eye(len(new)) + new @ np.linalg.pinv(fitted.T @ fitted, hermitian=True) @ new.T


def _standardised(part: Estimate) -> Floats:
    """Residuals [m] in units of weight 1, corrected for leverage, centred, no smaller than seed noise."""
    weight = part.points.weight
    slopes = relative_slopes(part) * np.sqrt(weight)[:, None]
    leverage = np.einsum("mp,pm->m", slopes, np.linalg.pinv(slopes)) if slopes.size else np.zeros(len(weight))
    scaled = -part.residuals * np.sqrt(weight) / np.sqrt(1.0 - np.clip(leverage, 0.0, _MAX_LEVERAGE))
    scaled -= scaled.mean()
    noise, freedom = part.runs.seed_variance()
    seeds = float(np.sqrt((noise / part.runs.counts * weight).mean())) if freedom else 0.0
    spread = float(np.sqrt((scaled**2).mean()))
    if spread <= 1e-12:
        return seeds * np.where(np.arange(len(scaled)) % 2, 1.0, -1.0)
    return np.asarray(scaled * max(1.0, seeds / spread))
