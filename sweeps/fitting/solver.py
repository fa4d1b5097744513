"""Least squares and Huber regression of ln metric on a law: many starts, many tables, at once.

One Levenberg-Marquardt iteration is carried out for a whole batch of problems in a few NumPy calls, so
that a hundred starts, a thousand bootstrap tables or the points of a likelihood profile cost about as
much as one fit with a general optimiser. Bounds are kept by freezing a parameter on its bound while the
gradient pushes outwards. The objective is a *sum* over points: with a mean, tolerances that compare it
with 1 stop at once (measured in scaling fits of language models).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeps.fitting.laws import Floats, Law, Points

AGREEMENT = 1e-3
"""Starts whose objective is within this relative distance of the best agree with it."""

_MAX_ITERATIONS = 400
_START_ITERATIONS = 120
"""Starts that are slower than this are not worth waiting for; the best one is polished to the end."""


@dataclass(frozen=True)
class Pin:
    """Holds parameter ``index`` at ``values`` [r], in the coordinates of :meth:`Law.to_logs` (profiling)."""

    index: int
    values: Floats


@dataclass(frozen=True)
class Objective:
    """How residuals count: least squares, or Huber with its linear part from ``huber`` (ln units) on."""

    law: Law
    points: Points
    chance: float | None = None
    huber: float | None = None

    def residuals(self, theta: Floats, log_y: Floats | None = None) -> Floats:
        """ln predicted − ln observed, [r, m]; ``log_y`` [r, m]: other tables than the points."""
        values, _ = self.law.evaluate(theta, self.points.u, self.points.v, self.chance, jacobian=False)
        return np.log(values) - (self.points.log_y if log_y is None else log_y)

    def _cost(self, residuals: Floats, weight: Floats) -> Floats:
        """Half the weighted sum of squares (or of Huber's function), [r]."""
        size = np.abs(residuals)
        half = 0.5 * size**2
        if self.huber is not None:
            half = np.where(size <= self.huber, half, self.huber * (size - 0.5 * self.huber))
        total: Floats = (weight * half).sum(axis=-1)
        return np.where(np.isnan(total), np.inf, total)

    def _curvature(self, residuals: Floats, weight: Floats) -> Floats:
        """Weights of the Gauss-Newton system: Huber's function as reweighted squares."""
        if self.huber is None:
            return np.broadcast_to(weight, residuals.shape)
        size = np.maximum(np.abs(residuals), 1e-300)
        return weight * np.minimum(1.0, self.huber / size)

    @np.errstate(all="ignore")
    def solve(
        self,
        start: Floats,
        log_y: Floats | None = None,
        weight: Floats | None = None,
        pin: Pin | None = None,
        tolerance: float = 1e-12,
        iterations: int = _MAX_ITERATIONS,
    ) -> tuple[Floats, Floats]:
        """Minimise from each row of ``start`` [r, p] (centred coordinates).

        ``log_y`` and ``weight`` [r, m] give every row its own table (bootstrap); by default all rows share
        the points. Returns the optima [r, p] and their costs [r].
        """
        shape = (len(start), len(self.points.log_y))
        target = np.broadcast_to(self.points.log_y if log_y is None else log_y, shape)
        weights = np.broadcast_to(self.points.weight if weight is None else weight, shape)
        bounds, rows = self._bounds(), np.arange(len(start))
        theta = self._apply(np.clip(start, *bounds), pin, rows)
        cost = self._cost(self._log_jacobian(theta, target, pin)[0], weights)
        damping = np.full(theta.shape[0], 1e-3)
        active = rows[np.isfinite(cost)]
        for _ in range(iterations):
            if not active.size:
                break
            moved, gain = self._step(
                theta[active], target[active], weights[active], damping[active], bounds, pin
            )
            moved = self._apply(moved, pin, active)
            residuals = self.residuals(moved, target[active])
            new = self._cost(residuals, weights[active])
            better = new <= cost[active]
            change = np.abs(moved - theta[active]).max(axis=1)
            small = (cost[active] - new <= tolerance * 1e-2 * cost[active]) & (change < np.sqrt(tolerance))
            done = (better & (small | (change < tolerance))) | (gain < tolerance) | (damping[active] > 1e14)
            index = active[better]
            theta[index], cost[index] = moved[better], new[better]
            damping[active] = np.where(better, np.maximum(damping[active] / 6, 1e-14), damping[active] * 5)
            active = active[~done]
        return theta, cost

    def _bounds(self) -> tuple[Floats, Floats]:
        top = float(np.exp(self.points.log_y.max()))
        if self.law.needs_chance and self.chance is not None:
            top = min(top, self.chance * (1 - 1e-9))
        return self.law.bounds(top)

    def _apply(self, theta: Floats, pin: Pin | None, rows: NDArray[np.intp]) -> Floats:
        """Set the pinned coordinate from the published value and the row's other coordinates."""
        if pin is None:
            return theta
        logs = self.law.centred_to_logs(theta, self.points.centre)
        logs[:, pin.index] = pin.values[rows]
        theta[:, pin.index] = self.law.logs_to_centred(logs, self.points.centre)[:, pin.index]
        return theta

    def _log_jacobian(self, theta: Floats, target: Floats, pin: Pin | None) -> tuple[Floats, Floats]:
        values, jac = self.law.evaluate(theta, self.points.u, self.points.v, self.chance)
        jac /= values[:, :, None]
        if pin is not None:
            for place, slope in self.law.held(theta, pin.index, self.points.centre):
                jac[:, :, place] += jac[:, :, pin.index] * slope[:, None]
            jac[:, :, pin.index] = 0.0
        return np.log(values) - target, jac

    def _step(
        self,
        theta: Floats,
        target: Floats,
        weight: Floats,
        damping: Floats,
        bounds: tuple[Floats, Floats],
        pin: Pin | None,
    ) -> tuple[Floats, Floats]:
        """Damped Gauss-Newton step kept within bounds, and the largest cosine of residual and column."""
        low, high = bounds
        residuals, jac = self._log_jacobian(theta, target, pin)
        curvature = self._curvature(residuals, weight)
        weighted = jac * curvature[:, :, None]
        gradient = np.einsum("rmp,rm->rp", weighted, residuals)
        hessian = np.einsum("rmp,rmq->rpq", weighted, jac)
        diagonal = np.einsum("rpp->rp", hessian).copy()
        blocked = (
            ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0)) | (diagonal <= 1e-280)
        )
        gradient = np.where(blocked, 0.0, gradient)
        scale = np.where(blocked, 1.0, np.sqrt(np.where(blocked, 1.0, diagonal)))
        free = ~blocked
        system = hessian / (scale[:, :, None] * scale[:, None, :]) * (free[:, :, None] & free[:, None, :])
        count = np.arange(theta.shape[1])
        system[:, count, count] = np.where(blocked, 1.0, 1.0 + damping[:, None])
        norm = np.sqrt((curvature * residuals**2).sum(axis=1))
        gain = np.abs(gradient / scale).max(axis=1) / np.maximum(norm, 1e-300)
        step = np.linalg.solve(system, (gradient / scale)[:, :, None])[:, :, 0] / scale
        return np.clip(theta - np.clip(step, -3.0, 3.0), low, high), gain


@dataclass(frozen=True)
class Optimum:
    """Best of many starts, in centred coordinates."""

    theta: Floats
    cost: float
    tried: int
    agreeing: int


def minimise(objective: Objective, starts: int, extra: Floats | None = None) -> Optimum:
    """Fit from at least ``starts`` starts (plus ``extra`` [k, p]) and polish the best."""
    first = objective.law.starts(objective.points, starts)
    if extra is not None:
        first = np.concatenate([first, np.atleast_2d(extra)])
    theta, cost = objective.solve(first, tolerance=1e-10, iterations=_START_ITERATIONS)
    best = int(np.argmin(cost))
    polished, final = objective.solve(theta[best : best + 1], tolerance=1e-15)
    least = float(min(final[0], cost[best]))
    # Noise-free tables: every start that reaches rounding error has found the optimum.
    rounding = 1e-18 * objective.points.weight.sum()
    agreeing = int((cost <= least * (1 + AGREEMENT) + rounding).sum())
    return Optimum(polished[0] if final[0] <= cost[best] else theta[best], least, len(first), agreeing)
