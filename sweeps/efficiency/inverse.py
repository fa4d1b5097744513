"""Inverse of a scaling law: how much N or D a metric's value takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from retrieval.errors import ConfigError
from sweeps.fitting.laws import Floats, Law


def required(
    law: Law,
    params: ArrayLike,
    target: ArrayLike,
    axis: Literal["N", "D"],
    other: ArrayLike = 1.0,
    chance: float | None = None,
) -> Floats:
    """Least N (or D) at which ``law`` predicts ``target`` or less.

    Args:
        law: a form that depends on ``axis``.
        params: published parameters [..., p].
        target: values of the metric, broadcast against params' leading axes and ``other``.
        axis: which resource to solve for.
        other: the resource held fixed (D for ``axis`` N), ignored by laws in one axis.
        chance: chance level, needed by bounded forms.

    Returns: float64; ``inf`` where no amount reaches the target (at or below the floor, or below what
        the other resource allows), 0 where every amount does.

    Raises:
        ConfigError: the law does not depend on ``axis``, or is bounded and the chance level is not given.
    """
    if axis not in law.axes:
        raise ConfigError(f"law {law.name} does not depend on {axis}; use one of joint, additive")
    theta = np.asarray(params, dtype=np.float64)

    def value(name: str) -> Floats:
        return np.asarray(theta[..., law.index(name)])

    floor = value("delta") if law.floor else np.zeros(theta.shape[:-1])
    excess = np.asarray(target, dtype=np.float64) - floor
    if law.bounded:
        if chance is None:
            raise ConfigError(f"law {law.name} needs the chance level: give the number of negatives W")
        room = chance - floor
        # y = x·c/(x + c) solved for x; at chance level and above every amount suffices.
        excess = np.where(excess < room, excess * room / np.maximum(room - excess, 1e-300), np.inf)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        amount = _solve(law, value, excess, axis, np.asarray(other, dtype=np.float64))
        if law.shifted:
            amount = np.maximum(amount - value("D0"), 0.0)
    return np.where(excess > 0, amount, np.inf)


def _solve(law: Law, value: Callable[[str], Floats], excess: Floats, axis: str, other: Floats) -> Floats:
    """Amount at which the reducible part equals ``excess`` > 0."""
    scale, exponent = (value("A"), value("alpha")) if axis == "N" else (value("B"), value("beta"))
    if law.combine == "single":
        return np.asarray(scale * excess ** (-1 / exponent))
    if law.combine == "sum":
        rest = value("B") / other ** value("beta") if axis == "N" else value("A") / other ** value("alpha")
        left = excess - rest
        return np.where(left > 0, (scale / np.maximum(left, 0.0)) ** (1 / exponent), np.inf)
    power = value("alpha") / value("beta")
    total = excess ** (1 / value("beta"))
    left = total - (value("B") / other if axis == "N" else (value("A") / other) ** power)
    amount = scale * left ** (-1 / power) if axis == "N" else scale / left
    return np.where(left > 0, amount, np.inf)
