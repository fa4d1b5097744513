"""Geometry of two objectives that are minimised: dominance, knee points and hypervolume."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ConfigError

Floats = NDArray[np.float64]


def dominates(points: Floats) -> NDArray[np.bool_]:
    """Matrix [n, n]: does point i of ``points`` [n, 2] dominate point j (no worse in both, better in one)?"""
    no_worse = np.all(points[:, None, :] <= points[None, :, :], axis=2)
    better = np.any(points[:, None, :] < points[None, :, :], axis=2)
    return np.asarray(no_worse & better)


def non_dominated(points: Floats) -> NDArray[np.bool_]:
    """Mask [..., n] of the points [..., n, 2] that no other dominates, smaller being better. O(n log n).

    Of equal points all are kept; leading axes are separate sets.
    """
    order, x, y = _sorted(points)
    best = np.minimum.accumulate(y, axis=-1)
    first = np.full_like(y[..., :1], np.inf)
    kept = y < np.concatenate([first, best[..., :-1]], axis=-1)
    # A point that equals the best so far is kept when it is that point's twin: same y, and an x not larger.
    front_x = np.maximum.accumulate(np.where(kept, x, -np.inf), axis=-1)
    kept |= (y == best) & (x == front_x)
    mask = np.empty_like(kept)
    np.put_along_axis(mask, order, kept, axis=-1)
    return mask


def hypervolume(points: Floats, reference: tuple[float, float]) -> Floats:
    """Area [...], exact, dominated by ``points`` [..., n, 2] up to ``reference`` (Zitzler & Thiele 1999).

    Smaller is better; points beyond the reference, the worst corner in the objectives' units, add nothing.
    """
    _, x, y = _sorted(points)
    left = np.minimum(x, reference[0])
    right = np.concatenate([left[..., 1:], np.full_like(left[..., :1], reference[0])], axis=-1)
    height = np.maximum(reference[1] - np.minimum.accumulate(y, axis=-1), 0.0)
    return np.asarray(((right - left) * height).sum(axis=-1))


def _sorted(points: Floats) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Order by x, then y, and both coordinates in that order, [..., n] each."""
    order = np.lexsort((points[..., 1], points[..., 0]), axis=-1)
    return (
        order,
        np.take_along_axis(points[..., 0], order, axis=-1),
        np.take_along_axis(points[..., 1], order, axis=-1),
    )


def _normalised(front: Floats, over: Floats | None = None) -> Floats:
    """Both objectives scaled to [0, 1] over the frontier, or other points; a constant one becomes 0."""
    points = front if over is None else over
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    return np.asarray((front - low) / np.where(span > 0, span, 1.0))


def _chord(front: Floats) -> Floats:
    """Signed distance from the line between the frontier's ends, towards the ideal point."""
    return np.asarray((1.0 - _normalised(front).sum(axis=1)) / np.sqrt(2.0))


def _ideal(front: Floats, over: Floats | None = None) -> Floats:
    """Nearness to the ideal point (best value of each objective), negated Euclidean distance."""
    return np.asarray(-np.linalg.norm(_normalised(front, over), axis=1))


def _utility(front: Floats) -> Floats:
    """Expected marginal utility (Branke et al. 2004, PPSN VIII) over uniform weights of both objectives.

    The loss, averaged over λ ∈ (0, 1), of a decision maker who minimises λ·x + (1−λ)·y and may not
    have this point.
    """
    weights = (np.arange(1000) + 0.5) / 1000
    scaled = _normalised(front)
    cost = weights[:, None] * scaled[:, 0] + (1 - weights)[:, None] * scaled[:, 1]
    best = cost.argmin(axis=1)
    rows = np.arange(len(weights))
    first = cost[rows, best]
    cost[rows, best] = np.inf
    loss = cost.min(axis=1) - first
    return np.bincount(best, weights=loss, minlength=len(front)) / len(weights)


KNEE_RULES: dict[str, tuple[Callable[[Floats], Floats], str]] = {
    "chord": (
        _chord,
        "largest distance from the chord between the frontier's ends, objectives scaled to [0, 1]",
    ),
    "ideal": (_ideal, "smallest distance to the ideal point, objectives scaled to [0, 1]"),
    "utility": (_utility, "largest expected marginal utility over uniform weights (Branke et al. 2004)"),
}
"""Name -> (score, the larger the more a knee; the rule in words)."""


def knee(points: Floats, rule: str = "chord") -> int:
    """Index of the Pareto-efficient point among ``points`` [n, 2], n ≥ 1, smaller being better.

    Only the non-dominated points are candidates. With fewer than three distinct ones no rule can
    tell them apart (each is an end of the frontier): then the nearest to the ideal point counts, with
    the objectives scaled over all points, the dominated ones included. Ties go to the lower x.

    Raises ConfigError on a ``rule`` that is none of :data:`KNEE_RULES`.
    """
    if rule not in KNEE_RULES:
        raise ConfigError(f"--knee {rule} does not exist; choose one of {', '.join(KNEE_RULES)}")
    candidates = np.flatnonzero(non_dominated(points))
    front = points[candidates]
    several = len(set(front[:, 0].tolist())) >= 3  # distinct points of a frontier differ in x
    score = KNEE_RULES[rule][0](front) if several else _ideal(front, points)
    best = np.flatnonzero(score >= score.max() - 1e-12)
    return int(candidates[best[np.argmin(front[best, 0])]])
