"""Point estimates: weights from replicates, least squares or Huber, hold-out, comparison of forms."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sweeps.fitting.laws import LAWS, Floats, Law, Points
from sweeps.fitting.points import Runs
from sweeps.fitting.result import FitOptions, Holdout
from sweeps.fitting.solver import Objective, Optimum, minimise

HUBER_TUNING = 1.345
"""Huber's constant: 95 % efficiency for normal residuals (Huber and Ronchetti, Robust Statistics)."""

_MAD_TO_SD = 1.4826
_AMBIGUOUS = 2.0
"""AICc differences below this leave both forms plausible (Burnham and Anderson 2002, sec. 2.6)."""
_DECISIVE = 10.0
_WEIGHT_ROUNDS = 4
_HUBER_ROUNDS = 3


@dataclass(frozen=True)
class Estimate:
    """One form fitted to one set of rows."""

    runs: Runs
    law: Law
    objective: Objective
    optimum: Optimum
    between: float
    """Variance of configurations about the law that seed noise does not explain, ln² units."""

    @property
    def points(self) -> Points:
        """The fitted configuration means."""
        return self.objective.points

    @property
    def published(self) -> Floats:
        """Published parameters [p]."""
        return self.law.to_published(self.optimum.theta, self.points.centre)

    @property
    def residuals(self) -> Floats:
        """ln predicted − ln observed of every configuration, [m]."""
        return np.asarray(self.objective.residuals(self.optimum.theta[None, :])[0])

    def aicc(self) -> float:
        """m·ln(weighted RSS/m) + 2k + 2k(k+1)/(m − k − 1), k = p + 1; +inf where undefined.

        Additive constants are dropped, so only differences between forms on the same rows mean anything.
        """
        count, k = len(self.points.log_y), self.law.size + 1
        if count - k - 1 <= 0:
            return float("inf")
        squares = float((self.points.weight * self.residuals**2).sum())
        return float(count * np.log(max(squares, 1e-300) / count) + 2 * k + 2 * k * (k + 1) / (count - k - 1))


def estimate(runs: Runs, law: Law, options: FitOptions, between: float | None = None) -> Estimate:
    """Fit ``law`` to ``runs`` from at least ``options.starts`` starts.

    With unequal numbers of seeds, configurations are weighted by 1/(between + seed variance/seeds) and
    ``between`` is estimated by moments unless given.
    """
    chance = runs.chance if options.chance is None else options.chance
    points = runs.points(between or 0.0)
    objective = Objective(law, points, chance)
    optimum = minimise(objective, options.starts)
    noise, _ = runs.seed_variance()
    uneven = len(np.unique(runs.counts)) > 1 and noise > 0
    if between is None and uneven:
        between = 0.0
        for _ in range(_WEIGHT_ROUNDS):
            previous, between = between, _between(runs, objective.residuals(optimum.theta[None, :])[0], law)
            objective = replace(objective, points=runs.points(between))
            theta, cost = objective.solve(optimum.theta[None, :])
            optimum = replace(optimum, theta=theta[0], cost=float(cost[0]))
            if abs(between - previous) <= 1e-3 * max(between, 1e-300):
                break
    if options.loss == "huber":
        objective, optimum = huber(runs, objective, optimum, options)
    return Estimate(runs, law, objective, optimum, between or 0.0)


def _between(runs: Runs, residuals: Floats, law: Law) -> float:
    """Moment estimate of the variance between configurations: residual mean square less seed noise."""
    noise, _ = runs.seed_variance()
    freedom = max(len(residuals) - law.size, 1)
    return max(float((residuals**2).sum()) / freedom - float((noise / runs.counts).mean()), 0.0)


def huber(
    runs: Runs, objective: Objective, optimum: Optimum, options: FitOptions
) -> tuple[Objective, Optimum]:
    """Huber regression from the least-squares optimum and from fresh starts, its scale re-estimated."""
    start = optimum.theta
    for attempt in range(1 if options.huber_scale else _HUBER_ROUNDS):
        scale = options.huber_scale or HUBER_TUNING * robust_scale(
            runs, objective.residuals(start[None, :])[0], objective.law
        )
        objective = replace(objective, huber=scale)
        if attempt == 0:
            optimum = minimise(objective, options.starts, start)
        else:
            theta, cost = objective.solve(start[None, :], tolerance=1e-15)
            optimum = replace(optimum, theta=theta[0], cost=float(cost[0]))
        start = optimum.theta
    return objective, optimum


def robust_scale(runs: Runs, residuals: Floats, law: Law) -> float:
    """Residual scale [ln]: median absolute deviation as a standard deviation, at least the seed noise."""
    freedom = max(len(residuals) - law.size, 1)
    spread = _MAD_TO_SD * float(np.median(np.abs(residuals))) * float(np.sqrt(len(residuals) / freedom))
    noise, _ = runs.seed_variance()
    return max(spread, float(np.sqrt(noise / runs.counts.mean())), 1e-9)


def leave_largest_out(runs: Runs, law: Law, options: FitOptions, between: float = 0.0) -> Holdout:
    """Refit without the largest level of each axis in turn and predict it.

    The reported axis is N where the law has it (the largest model size), else D. An axis is skipped when
    too few configurations or fewer than two levels would remain.
    """
    points: list[dict[str, Any]] = []
    for axis in law.axes:
        size = runs.size(axis)
        keep = size < size.max()
        remaining = runs.select(keep) if keep.any() else None
        if remaining is None or len(remaining.counts) < law.size or len(np.unique(size[keep])) < 2:
            continue
        reduced = estimate(remaining, law, options, between)
        left = runs.select(~keep)
        index = left.first()
        observed = np.exp(left.means())
        predicted = law.predict(reduced.published, left.n[index], left.d[index], reduced.objective.chance)
        for n, d, seen, said in zip(left.n[index], left.d[index], observed, predicted):
            error = float(said / seen - 1)
            points.append(
                {"axis": axis, "N": n, "D": d, "observed": seen, "predicted": said, "relative_error": error}
            )
    if not points:
        return Holdout(0, None, law.axes[0], [])
    axis = str(points[0]["axis"])
    errors = [float(point["relative_error"]) for point in points if point["axis"] == axis]
    return Holdout(len(errors), max(errors, key=abs), axis, points)


def comparable_forms(axes: tuple[str, ...], chance: float | None, grows: bool = False) -> list[Law]:
    """Forms in these axes, of quantities that grow or of losses.

    Those that need the chance level are among them where it is known.
    """
    forms = [law for law in LAWS.values() if law.axes == axes and law.grows == grows]
    return [law for law in forms if chance or not law.needs_chance]


def compare(runs: Runs, laws: list[Law], options: FitOptions, between: float = 0.0) -> dict[str, Any]:
    """Fit every form by least squares and rank them by AICc and by leave-largest-out error.

    Returns ``forms`` {name: aicc, delta_aicc, holdout, parameters}, ``preferred``, ``verdict``
    (``ambiguous``, ``clear`` or ``decisive``) and ``extrapolates_best``.
    """
    plain = replace(options, loss="least-squares")
    forms: dict[str, dict[str, Any]] = {}
    for law in laws:
        held = leave_largest_out(runs, law, plain, between)
        errors = [abs(point["relative_error"]) for point in held.points]
        forms[law.name] = {
            "aicc": estimate(runs, law, plain, between).aicc(),
            "holdout": held.relative_error,
            "worst_holdout": max(errors) if errors else None,
            "parameters": law.size,
        }
    least = min(form["aicc"] for form in forms.values())
    for form in forms.values():
        form["delta_aicc"] = form["aicc"] - least if np.isfinite(least) else None
    return {"forms": forms, **_verdict(forms)}


def _verdict(forms: dict[str, dict[str, Any]]) -> dict[str, Any]:
    known = {name: form for name, form in forms.items() if np.isfinite(form["aicc"])}
    if not known:
        smallest = min(forms, key=lambda name: (forms[name]["parameters"], list(forms).index(name)))
        return {"preferred": smallest, "verdict": "undecidable", "extrapolates_best": None}
    ranked = sorted(known, key=lambda name: known[name]["aicc"])
    plausible = [name for name in ranked if known[name]["delta_aicc"] < _AMBIGUOUS]
    with_error = [name for name in ranked if known[name]["worst_holdout"] is not None]
    farthest = min(with_error, key=lambda name: known[name]["worst_holdout"]) if with_error else None
    # Among forms that AICc cannot tell apart, the one that extrapolates better is the safer choice.
    judged = [name for name in plausible if name in with_error]
    preferred = min(judged, key=lambda name: known[name]["worst_holdout"]) if judged else ranked[0]
    best = LAWS[ranked[0]].family
    rivals = [known[name]["delta_aicc"] for name in ranked if LAWS[name].family != best]
    margin = rivals[0] if rivals else float("inf")
    verdict = "ambiguous" if margin < _AMBIGUOUS else "clear" if margin < _DECISIVE else "decisive"
    return {"preferred": preferred, "verdict": verdict, "extrapolates_best": farthest}
