"""How much N or D a metric's value takes: by a law, and by a falling curve through measured points.

The curve has no law, and no reach beyond the points. Noise can make a mean rise from one amount of data to
the next although the metric falls. Such neighbours are pooled into one point at their weighted means of both
coordinates (centred isotonic regression, Oron and Flournoy 2017, Statistics in Biopharmaceutical Research
9(3)); pooling at equal heights alone would leave flat pieces, whose inverse jumps. Between points the curve
is a straight line in ln metric against ln resource, so a power law without floor is met exactly; below the
first and beyond the last point nothing is known.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from retrieval.errors import ConfigError
from sweeps.fitting.laws import Floats, Law, plain_names

ROUNDING = 1e-9
"""Differences of ln metric up to this are equality: an end of the curve reaches itself."""


def falling(log_x: Floats, log_y: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Knots (ln resource, ln metric) [r, m] of the falling curves nearest to ln metric ``log_y`` [r, m].

    ``log_x`` [m]: ln resource, strictly rising; ``weight`` [m]: of the points, such as numbers of seeds.
    Knots are in order of the resource; points that are pooled are the same knot several times.
    """
    x, y = np.tile(log_x, (len(log_y), 1)), np.array(log_y)
    for row in np.flatnonzero(~np.all(np.diff(log_y, axis=1) < 0, axis=1)):
        levels = np.asarray(optimize.isotonic_regression(log_y[row], weights=weight, increasing=False).x)
        block = np.cumsum(np.concatenate([[0], np.diff(levels) < 0]))
        centres = np.bincount(block, weight * log_x) / np.bincount(block, weight)
        x[row], y[row] = centres[block], levels
    return x, y


def reached(log_x: Floats, log_y: Floats, weight: Floats, target: Floats) -> Floats:
    """Amounts of the resource [r, s] at which the curves of :func:`falling` have ln metric ``target`` [r, s].

    In the resource's own unit; ``inf`` where the target lies below the curve's last point, 0 where it lies
    above the first: more, or less, than was measured.
    """
    x, y = falling(log_x, log_y, weight)
    after = (y[:, None, :] > target[:, :, None]).sum(axis=2).clip(1, len(log_x) - 1)
    x0, x1, y0, y1 = (np.take_along_axis(part, after - k, axis=1) for part in (x, y) for k in (1, 0))
    drop = y0 - y1
    share = np.divide(y0 - target, drop, out=np.zeros_like(drop), where=drop > 0)
    amount = np.exp(x0 + share.clip(0, 1) * (x1 - x0))
    amount = np.where(target < y[:, -1:] - ROUNDING, np.inf, amount)
    return np.where(target > y[:, :1] + ROUNDING, 0.0, amount)


def required(
    law: Law,
    params: ArrayLike,
    target: ArrayLike,
    axis: Literal["N", "D"],
    other: ArrayLike = 1.0,
    chance: float | None = None,
) -> Floats:
    """Least amount of ``axis``, float64, at which ``law`` predicts ``target`` or less.

    Published parameters [..., p], the target and the resource held fixed broadcast as in :meth:`Law.inverse`;
    bounded forms need ``chance``. ``inf`` where no amount reaches the target (at or below the floor, or below
    what the other resource allows), 0 where every amount does.

    Raises ConfigError: the law does not depend on ``axis``, or is bounded and the chance level is not given.
    """
    if axis not in law.axes:
        raise ConfigError(
            f"law {law.name} does not depend on {axis}; use one of {', '.join(plain_names({axis}))}"
        )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return law.inverse(
            np.asarray(params, dtype=np.float64),
            np.asarray(target, dtype=np.float64),
            axis,
            np.asarray(other, dtype=np.float64),
            chance,
        )
