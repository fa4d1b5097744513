"""Power laws of quantities that grow: costs, bytes, seconds, what an attack needs.

They have no floor and no chance level.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sweeps.fitting.laws import register
from sweeps.fitting.laws.base import Centre, Floats, Law, Parameter
from sweeps.fitting.laws.separable import Separable

_START_RANGE = 3.0
"""Exponents between minus this and this are started from."""

_GROWTHS = {"N": Parameter("alpha", "growth", "N"), "D": Parameter("beta", "growth", "D")}


@register
class Growing(Separable):
    """``A·N^α``, ``B·D^β`` or ``A·N^α·D^β``: the sign of an exponent is free, and above 0 the metric grows.

    ln metric is linear in ln A and the exponents, so least squares has one optimum. An exponent of 0 says
    that the metric does not depend on the axis, which laws with positive exponents cannot say.
    """

    grows = True

    def __init__(self, stem: str, axes: tuple[str, ...]) -> None:
        self.name = f"{stem}-growing"
        self.axes = axes
        scale = Parameter("B" if axes == ("D",) else "A", "scale")
        self.kinds = (scale, *(_GROWTHS[axis] for axis in axes))
        powers = (f"{axis}^{'α' if axis == 'N' else 'β'}" for axis in axes)
        self.formula = "·".join((scale.name, *powers))
        self.help = "a power that grows, for costs; no floor"

    @classmethod
    def forms(cls) -> Sequence[Law]:
        """In model size, in data and in both."""
        return [cls("model", ("N",)), cls("data", ("D",)), cls("joint", ("N", "D"))]

    def values(self, centred: Floats, u: Floats, v: Floats, chance: float | None = None) -> Floats:
        """Metric [r, k] of centred parameters [r, p]."""
        return self.evaluate(centred, u, v, chance, jacobian=False)[0]

    def evaluate(
        self, centred: Floats, u: Floats, v: Floats, chance: float | None = None, jacobian: bool = True
    ) -> tuple[Floats, Floats]:
        """Values [r, k] and Jacobian [r, k, p]; without ``jacobian`` the second is empty."""
        sizes = self._sizes(u, v)
        logs = centred[:, 0, None] + sum(
            centred[:, place, None] * size[None, :] for place, size in enumerate(sizes, start=1)
        )
        values = np.exp(logs)
        if not jacobian:
            return values, np.zeros((*values.shape, 0))
        slopes = np.stack([np.ones_like(u), *sizes], axis=1)
        return values, values[:, :, None] * slopes[None, :, :]

    def inverse(
        self, params: Floats, target: Floats, axis: str, other: Floats, chance: float | None = None
    ) -> Floats:
        """Amount of ``axis`` at which the law predicts ``target``; ``inf`` where none does."""
        place = 1 + self.axes.index(axis)
        rest = params[..., 0]
        if len(self.axes) == 2:
            rest = rest * other ** params[..., 3 - place]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            amount = (np.asarray(target) / rest) ** (1 / params[..., place])
        return np.where((np.asarray(target) > 0) & (params[..., place] != 0), amount, np.inf)

    def logs_to_centred(self, logs: ArrayLike, centre: Centre) -> Floats:
        """The first coordinate is the logarithm of the metric at the geometric means of N and D."""
        theta = np.array(logs, dtype=np.float64)
        theta[..., 0] += self._at_centre(theta, centre)
        return theta

    def centred_to_logs(self, centred: ArrayLike, centre: Centre) -> Floats:
        """Inverse of :meth:`logs_to_centred`."""
        logs = np.array(centred, dtype=np.float64)
        logs[..., 0] -= self._at_centre(logs, centre)
        return logs

    def chain(self, centred: Floats, centre: Centre) -> Floats:
        """d centred / d logs, [p, p]."""
        slopes = np.eye(self.size)
        slopes[0, 1:] = [centre.of(axis) for axis in self.axes]
        return slopes

    def held(self, centred: Floats, index: int, centre: Centre) -> list[tuple[int, Floats]]:
        """The metric at the centre moves with the exponents while its scale is held."""
        if index != 0:
            return []
        ones = np.ones(len(centred))
        return [(place, centre.of(axis) * ones) for place, axis in enumerate(self.axes, start=1)]

    def nonlinear(self, count: int) -> Floats:
        """Grid over the exponents, at least ``count`` rows."""
        side = int(np.ceil(count ** (1 / len(self.axes)) - 1e-9))
        grid = np.linspace(-_START_RANGE, _START_RANGE, side)
        return np.stack([part.ravel() for part in np.meshgrid(*[grid] * len(self.axes))], axis=1)

    def columns(self, outer: Floats, u: Floats, v: Floats) -> list[Floats]:
        """The one function [m] that the scale multiplies."""
        exponents = sum(power * size for power, size in zip(outer, self._sizes(u, v)))
        return [np.exp(exponents)]

    def assemble(self, outer: Floats, linear: Floats, smallest: float) -> Floats:
        """Centred parameters [p] of the exponents and the scale."""
        return np.array([np.log(max(linear[0], smallest)), *outer])

    def _sizes(self, u: Floats, v: Floats) -> list[Floats]:
        return [u if axis == "N" else v for axis in self.axes]

    def _at_centre(self, theta: Floats, centre: Centre) -> Floats:
        total = np.zeros(theta.shape[:-1])
        for place, axis in enumerate(self.axes, start=1):
            total = total + theta[..., place] * centre.of(axis)
        return total
