"""Profile-likelihood intervals: how far a parameter can move before the fit gets significantly worse.

The interval of ψ is {ψ: S(ψ) − S_min ≤ t²·s²/2} with S the cost minimised over the other parameters and t
Student's quantile with m − p degrees of freedom. Unlike ±1.96 standard errors it is not symmetric, does not
cross bounds, and says so when the data leave an end open (a floor that may be 0, an exponent without limit).
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from sweeps.fitting.laws import Floats
from sweeps.fitting.solver import Objective, Pin

_DOUBLINGS = 12
_REFINEMENTS = 8
_RISE_LIMIT = 1e12

Interval = tuple[float | None, float | None]


@dataclass(frozen=True)
class Profile:
    """Intervals of the published parameters and what was met on the way."""

    intervals: dict[str, Interval]
    ends: Floats
    """Centred parameters [k, p] at the ends found: good starts for other tables."""
    better: Floats | None
    """Centred parameters of a lower cost than the optimum's, if profiling came across one."""


def noise_scale(objective: Objective, theta: Floats) -> float:
    """Residual variance s² [ln²] that turns a cost difference into a likelihood ratio; NaN when saturated.

    For least squares the weighted residual mean square with m − p degrees of freedom; for Huber
    Σψ²/(m − p) over the mean of ψ′ (Huber and Ronchetti, Robust Statistics, 2nd ed., sec. 13.4).
    """
    residuals = objective.residuals(theta[None, :])[0]
    weight = objective.points.weight
    freedom = len(residuals) - objective.law.size
    if freedom <= 0:
        return float("nan")
    if objective.huber is None:
        return float((weight * residuals**2).sum() / freedom)
    inside = np.abs(residuals) <= objective.huber
    influence = np.clip(residuals, -objective.huber, objective.huber)
    share = max(float(inside.mean()), 1.0 / len(residuals))
    return float((weight * influence**2).sum() / freedom / share)


def covariance(objective: Objective, theta: Floats) -> Floats:
    """Asymptotic covariance [p, p] of :meth:`Law.to_logs`; zero for parameters on a bound."""
    law, points = objective.law, objective.points
    values, jac = law.evaluate(theta[None, :], points.u, points.v, objective.chance)
    slopes = (jac[0] / values[0][:, None]) @ law.chain(theta, points.centre)
    low, high = law.bounds(np.inf)
    free = np.flatnonzero((theta > low) & (theta < high))
    root = np.sqrt(points.weight)[:, None]
    scale = np.linalg.norm(slopes * root, axis=0)
    free = free[scale[free] > 0]
    result = np.zeros((law.size, law.size))
    scaled = (slopes * root)[:, free] / scale[free]
    inverse = np.linalg.pinv(scaled.T @ scaled, hermitian=True)
    result[np.ix_(free, free)] = inverse / np.outer(scale[free], scale[free]) * noise_scale(objective, theta)
    return result


class _Walker:
    """Follows the profile of one parameter from the optimum outwards, each point starting from the last."""

    def __init__(self, objective: Objective, theta: Floats, cost: float, allowed: float, index: int) -> None:
        self.objective, self.law, self.centre = objective, objective.law, objective.points.centre
        self.index, self.allowed, self.cost = index, allowed, cost
        self.start = self.law.centred_to_logs(theta, self.centre)
        self.best_cost, self.best = cost, theta

    def solve(self, position: float, guess: Floats) -> tuple[Floats, float]:
        """Logs of the constrained optimum and √((S − S_min)/allowed), 1 at the end of the interval."""
        guess = guess.copy()
        guess[self.index] = position
        pin = Pin(self.index, guess[self.index : self.index + 1])
        centred = self.law.logs_to_centred(guess, self.centre)[None, :]
        theta, cost = self.objective.solve(centred, pin=pin, tolerance=1e-10)
        if cost[0] < self.best_cost:
            self.best_cost, self.best = float(cost[0]), theta[0]
        # A start from which no finite cost is reached lies outside, whatever the cost.
        rise = min(max(float(cost[0]) - self.cost, 0.0), _RISE_LIMIT * self.allowed) / self.allowed
        logs = self.law.centred_to_logs(theta[0], self.centre)
        logs[self.index] = position
        return logs, float(np.sqrt(rise))

    def end(
        self, side: int, first_step: float, response: Floats, limit: float
    ) -> tuple[float | None, Floats]:
        """Position of the interval's end on one side (None: open), and the logs there."""
        origin = float(self.start[self.index])
        room = abs(limit - origin)
        inside, value, offset = self.start, 0.0, 0.0
        step = min(first_step, room)
        for _ in range(_DOUBLINGS):
            if room <= 0 or offset >= room:
                break
            previous, offset = offset, min(offset + step, room)
            guess = inside + response * side * (offset - previous)
            logs, new = self.solve(origin + side * offset, guess)
            if new >= 1.0:
                return self._refine(side, origin, (previous, value, inside), (offset, new, logs))
            if offset > previous:
                response = (logs - inside) / (side * (offset - previous))
            inside, value = logs, new
            # The square root of the rise is close to linear: aim a little beyond where it reaches 1.
            step = float(
                np.clip(1.2 * (1.0 - value) * offset / max(value, 1e-3), 0.25 * offset, 3.0 * offset)
            )
        return None, inside

    def _refine(
        self,
        side: int,
        origin: float,
        inside: tuple[float, float, Floats],
        outside: tuple[float, float, Floats],
    ) -> tuple[float, Floats]:
        """Regula falsi on the square root of the rise, with bisection when it stalls."""
        for attempt in range(_REFINEMENTS):
            share = (1.0 - inside[1]) / (outside[1] - inside[1])
            share = 0.5 if attempt % 3 == 2 or not 0.02 < share < 0.98 else share
            offset = inside[0] + share * (outside[0] - inside[0])
            guess = inside[2] + share * (outside[2] - inside[2])
            logs, value = self.solve(origin + side * offset, guess)
            if value < 1.0:
                inside = (offset, value, logs)
            else:
                outside = (offset, value, logs)
            if abs(value - 1.0) < 1e-4:
                break
        share = (1.0 - inside[1]) / max(outside[1] - inside[1], 1e-300)
        offset = inside[0] + share * (outside[0] - inside[0])
        return origin + side * offset, inside[2]


def profile_intervals(objective: Objective, theta: Floats, cost: float, level: float) -> Profile:
    """Profile-likelihood intervals of every published parameter at the optimum ``theta`` [p].

    All intervals are (None, None) when there are no residual degrees of freedom, and of width zero when the
    fit is exact.
    """
    law, centre = objective.law, objective.points.centre
    published = law.to_published(theta, centre)
    freedom = len(objective.points.log_y) - law.size
    if freedom <= 0:
        return Profile(dict.fromkeys(law.parameters, (None, None)), np.empty((0, law.size)), None)
    if cost < 1e-22 * len(objective.points.log_y):
        exact: dict[str, Interval] = {
            name: (float(value), float(value)) for name, value in zip(law.parameters, published)
        }
        return Profile(exact, np.empty((0, law.size)), None)
    allowed = 0.5 * stats.t.ppf(0.5 + level / 2, freedom) ** 2 * noise_scale(objective, theta)
    spread = covariance(objective, theta)
    intervals: dict[str, Interval] = {}
    ends, better, least = [], None, cost
    for index, name in enumerate(law.parameters):
        walker = _Walker(objective, theta, cost, allowed, index)
        found = []
        for side, limit in zip((-1, 1), law.limits(index, centre, _largest_floor(objective))):
            step, response = _first_step(spread, index, walker.start)
            position, logs = walker.end(side, step, response, limit)
            found.append(law.end(index, position, side))
            ends.append(law.logs_to_centred(logs, centre))
        intervals[name] = (found[0], found[1])
        if walker.best_cost < least * (1 - 1e-6):
            better, least = walker.best, walker.best_cost
    return Profile(intervals, np.stack(ends), better)


def _largest_floor(objective: Objective) -> float:
    """A floor lies below the largest value of the metric and below chance."""
    top = float(np.exp(objective.points.log_y.max()))
    return top if objective.chance is None else min(top, objective.chance * (1 - 1e-9))


def _first_step(spread: Floats, index: int, start: Floats) -> tuple[float, Floats]:
    """One standard error, and how the other parameters answer to a unit step of this one."""
    variance = float(spread[index, index])
    response = np.zeros(len(spread))
    response[index] = 1.0
    if not np.isfinite(variance) or variance <= 0:
        return max(0.05 * abs(float(start[index])), 1e-3), response
    return float(np.sqrt(variance)), spread[:, index] / variance
