"""Inverse of a scaling law: how much N or D a metric's value takes."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from retrieval.errors import ConfigError
from sweeps.fitting.laws import Floats, Law, plain_names


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
