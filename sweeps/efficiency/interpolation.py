"""A falling curve through measured points, and its inverse: no law, and no reach beyond the points.

Noise can make a mean rise from one amount of data to the next although the metric falls. Such neighbours are
pooled into one point at their weighted means of both coordinates (centred isotonic regression, Oron and
Flournoy 2017, Statistics in Biopharmaceutical Research 9(3)); pooling at equal heights alone would leave flat
pieces, whose inverse jumps. Between points the curve is a straight line in ln metric against ln resource, so
a power law without floor is met exactly; below the first and beyond the last point nothing is known.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize

from sweeps.laws import Floats

ROUNDING = 1e-9
"""Differences of ln metric up to this are equality: an end of the curve reaches itself."""


def falling(log_x: Floats, log_y: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Knots (ln resource, ln metric), each [k], k ≤ m, of the nearest falling curve.

    Args:
        log_x: ln resource, strictly rising, [m].
        log_y: ln metric, [m].
        weight: weights of the points, such as numbers of seeds, [m].
    """
    if np.all(np.diff(log_y) < 0):
        return log_x, log_y
    fitted = optimize.isotonic_regression(log_y, weights=weight, increasing=False)
    levels = np.asarray(fitted.x)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(levels) < 0]))
    centres = np.add.reduceat(weight * log_x, starts) / np.add.reduceat(weight, starts)
    return centres, levels[starts]


def reached(log_x: Floats, log_y: Floats, weight: Floats, target: Floats) -> Floats:
    """Amount of the resource, [s], at which the falling curve through the points is at ``target``.

    Args:
        log_x, log_y, weight: as for :func:`falling`.
        target: values of ln metric, [s].

    Returns: amounts in the resource's own unit; ``inf`` where the target lies below the curve's last point,
        0 where it lies above the first: more, or less, than was measured.
    """
    x, y = falling(log_x, log_y, weight)
    amount = np.exp(np.interp(-target, -y, x))
    amount = np.where(target < y[-1] - ROUNDING, np.inf, amount)
    return np.where(target > y[0] + ROUNDING, 0.0, amount)
