"""What a law sees of a table: logarithms about a centre, the metric and the weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Centre:
    """Geometric means of the fitted N and D, as natural logarithms; the origin of the centred coordinates."""

    log_n: float = 0.0
    log_d: float = 0.0

    def of(self, axis: str | None) -> float:
        """Logarithm of the geometric mean of an axis; 0 for what has no axis."""
        return {"N": self.log_n, "D": self.log_d}.get(axis or "", 0.0)


@dataclass(frozen=True)
class Points:
    """What a law is fitted to. All arrays [m]; u and v are ln N and ln D less the centre."""

    u: Floats
    v: Floats
    log_y: Floats
    weight: Floats
    """Relative weights with mean 1."""
    centre: Centre

    @classmethod
    def of(cls, log_n: Floats, log_d: Floats, log_y: Floats, weight: Floats | None = None) -> Points:
        """Points of ln N, ln D, ln metric; the centre is the mean of ln N and ln D."""
        centre = Centre(float(log_n.mean()), float(log_d.mean()))
        weights = np.ones_like(log_y) if weight is None else weight / weight.mean()
        return cls(log_n - centre.log_n, log_d - centre.log_d, log_y, weights, centre)
