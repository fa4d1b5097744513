"""Power laws: one term for each axis, combined, with what a floor adds; the published parametrisation.

With ``t_N`` the logarithm of the model term and ``t_D`` that of the data term, each form is a function of
``exp(t_N)`` and ``exp(t_D)``. The term ``(A/N)^α`` has ``t_N = α·(ln A − ln N)``. Its centred coordinates are
its logarithm at the geometric mean of N and ln α.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from retrieval.errors import ConfigError
from sweeps.fitting.laws.base import Centre, Floats, Law, Parameter
from sweeps.fitting.laws.separable import Separable


class Floor:
    """``x + δ`` for a reducible part x."""

    suffix = ""
    parameters: tuple[Parameter, ...] = (Parameter("delta", "floor"),)
    needs_chance = False
    words = ""
    formula = "{} + δ"
    """Of the metric, around the reducible part's."""

    def above(self, centred: Floats, x: Floats, jac: Floats, chance: float | None) -> tuple[Floats, Floats]:
        """Metric [r, k] of the reducible part, and its Jacobian [r, k, p] from that of the reducible part."""
        if jac.shape[2]:
            jac[:, :, -1] = 1.0
        return x + centred[:, -1, None], jac

    def reducible(self, params: Floats, target: Floats, chance: float | None) -> Floats:
        """Reducible part at which the metric is ``target``, for published parameters [..., p]."""
        return target - params[..., -1]


class NoFloor(Floor):
    """``x`` itself: the metric falls to 0."""

    suffix = "-no-floor"
    parameters = ()
    words = ", without a floor"
    formula = "{}"

    def above(self, centred: Floats, x: Floats, jac: Floats, chance: float | None) -> tuple[Floats, Floats]:
        """The reducible part as it is."""
        return x, jac

    def reducible(self, params: Floats, target: Floats, chance: float | None) -> Floats:
        """The target itself."""
        return target - np.zeros(params.shape[:-1])


class Bounded(Floor):
    """``δ + x·c/(x + c)``, ``c = chance − δ``: the metric saturates at a known chance level.

    Far below that level it equals the form with a floor.
    """

    suffix = "-bounded"
    needs_chance = True
    words = ", saturating at the chance level"
    formula = "δ + x·c/(x+c), x = {}, c = chance − δ"

    def above(self, centred: Floats, x: Floats, jac: Floats, chance: float | None) -> tuple[Floats, Floats]:
        """Metric and Jacobian, the latter scaled by d metric / d x."""
        delta = centred[:, -1, None]
        assert chance is not None  # the law has checked
        room = np.maximum(chance - delta, 1e-12)
        kept = room / (x + room)
        if jac.shape[2]:
            jac *= (kept**2)[:, :, None]
            jac[:, :, -1] = 1.0 - (1.0 - kept) ** 2
        return delta + x * kept, jac

    def reducible(self, params: Floats, target: Floats, chance: float | None) -> Floats:
        """y = x·c/(x + c) solved for x; at chance level and above every amount suffices."""
        assert chance is not None  # the law has checked
        floor = params[..., -1]
        excess, room = target - floor, chance - floor
        return np.where(excess < room, excess * room / np.maximum(room - excess, 1e-300), np.inf)


FLOORS: tuple[Floor, ...] = (Floor(), NoFloor(), Bounded())
"""The variants of every form, in the order in which they are registered."""


_START_RANGE = (0.03, 3.0)
"""Exponents that the fitter starts from."""

MODEL_TERM = (Parameter("A", "scale", "N"), Parameter("alpha", "exponent", "N"))
DATA_TERM = (Parameter("B", "scale", "D"), Parameter("beta", "exponent", "D"))


class PowerLaw(Separable):
    """Terms in N and D, each with its scale at position 2i of the parameters and its exponent at 2i + 1."""

    stem: ClassVar[str]
    """Name of the form with a floor."""
    text: ClassVar[str]
    """Formula of the reducible part."""
    about: ClassVar[str]
    """What the form is and where it comes from."""
    terms: ClassVar[tuple[tuple[Parameter, Parameter], ...]]
    more: ClassVar[tuple[Parameter, ...]] = ()
    """Parameters between the terms and the floor."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self.name = self.stem + floor.suffix
        self.axes = tuple(str(scale.axis) for scale, _ in self.terms)
        self.kinds = (*(kind for term in self.terms for kind in term), *self.more, *floor.parameters)
        self.formula = floor.formula.format(self.text)
        self.help = self.about + floor.words
        self.needs_chance = floor.needs_chance

    @classmethod
    def forms(cls) -> Sequence[Law]:
        """The form with a floor, without, and bounded by the chance level."""
        return [cls(floor) for floor in FLOORS]

    @property
    def family(self) -> str:
        """Far below chance the bounded form is the one with a floor."""
        return self.stem if self.needs_chance else self.name

    @abstractmethod
    def combine(self, logs: Sequence[Floats], centred: Floats) -> tuple[Floats, Sequence[Floats]]:
        """Reducible part x [r, k] of the terms' logarithms, and ln of each term's share of d ln x / d t."""

    @abstractmethod
    def solve(self, params: Floats, excess: Floats, axis: str, other: Floats) -> Floats:
        """Amount of ``axis`` at which the reducible part equals ``excess`` > 0."""

    def complete(self, jac: Floats, centred: Floats, shares: Sequence[Floats], x: Floats, v: Floats) -> None:
        """Add to the Jacobian what depends on more than the terms; ``shares``: from :meth:`combine`."""

    def weight(self, power: Floats) -> Floats:
        """d t / d ln scale of a term with exponent ``power``: the scale stands inside the power."""
        return power

    def held_scale_slope(self, centred: Floats, scale: int, centre: Centre) -> Floats:
        """d (centred scale) / d ln exponent [r] while the published scale (A or B) is held."""
        return centred[:, scale]

    def sizes(self, shift: Floats, u: Floats, v: Floats) -> list[Floats]:
        """Centred logarithm of each term's resource; ``shift``: what :attr:`more` adds to it, if anything."""
        return [u if axis == "N" else v for axis in self.axes]

    def values(self, centred: Floats, u: Floats, v: Floats, chance: float | None = None) -> Floats:
        """Metric [r, k] of centred parameters [r, p]."""
        return self.evaluate(centred, u, v, chance, jacobian=False)[0]

    def evaluate(
        self, centred: Floats, u: Floats, v: Floats, chance: float | None = None, jacobian: bool = True
    ) -> tuple[Floats, Floats]:
        """Values [r, k] and Jacobian [r, k, p]; without ``jacobian`` the second is empty."""
        self._check_chance(chance)
        jac = np.zeros((centred.shape[0], u.shape[0], self.size if jacobian else 0))
        end = 2 * len(self.terms)
        sizes = self.sizes(centred[:, end : end + len(self.more)], u[None, :], v[None, :])
        powers = [np.exp(centred[:, 2 * i + 1, None]) for i in range(len(sizes))]
        logs = [centred[:, 2 * i, None] - powers[i] * size for i, size in enumerate(sizes)]
        x, shares = self.combine(logs, centred)
        if jacobian:
            for i, (log_share, power, size) in enumerate(zip(shares, powers, sizes)):
                share = np.exp(log_share)
                jac[:, :, 2 * i] = x * share
                jac[:, :, 2 * i + 1] = -x * share * power * size
            self.complete(jac, centred, shares, x, v)
        return self.floor.above(centred, x, jac, chance)

    def inverse(
        self, params: Floats, target: Floats, axis: str, other: Floats, chance: float | None = None
    ) -> Floats:
        """Amount of ``axis`` at which the law predicts ``target``; ``inf`` where none does."""
        self._check_chance(chance)
        excess = self.floor.reducible(params, target, chance)
        return np.where(excess > 0, self.solve(params, excess, axis, other), np.inf)

    def _check_chance(self, chance: float | None) -> None:
        if self.needs_chance and chance is None:
            raise ConfigError(f"law {self.name} needs the chance level: give the number of negatives W")

    def logs_to_centred(self, logs: ArrayLike, centre: Centre) -> Floats:
        """From logs to centred coordinates; a scale too small or large for a float survives it."""
        theta = np.array(logs, dtype=np.float64)
        for i, axis in enumerate(self.axes):
            power = np.exp(theta[..., 2 * i + 1])
            theta[..., 2 * i] = self.weight(power) * theta[..., 2 * i] - power * centre.of(axis)
        return self._shifts(theta, centre, -1)

    def centred_to_logs(self, centred: ArrayLike, centre: Centre) -> Floats:
        """Inverse of :meth:`logs_to_centred`."""
        logs = np.array(centred, dtype=np.float64)
        for i, axis in enumerate(self.axes):
            power = np.exp(logs[..., 2 * i + 1])
            logs[..., 2 * i] = (logs[..., 2 * i] + power * centre.of(axis)) / self.weight(power)
        return self._shifts(logs, centre, 1)

    def chain(self, centred: Floats, centre: Centre) -> Floats:
        """d centred / d logs at ``centred`` [p], as [p, p]."""
        slopes = super().chain(centred, centre)
        for scale in self.places("scale"):
            slopes[scale, scale] = self.weight(np.exp(centred[scale + 1]))
            slopes[scale, scale + 1] = self.held_scale_slope(centred[None, :], scale, centre)[0]
        return slopes

    def held(self, centred: Floats, index: int, centre: Centre) -> list[tuple[int, Floats]]:
        """A term at the centre moves with its exponent while its published scale is held."""
        if self.kinds[index].role != "scale":
            return []
        return [(index + 1, self.held_scale_slope(centred, index, centre))]

    def grids(self, side: int) -> list[Floats]:
        """Grid [side] of each nonlinear parameter, the exponents first."""
        return [np.log(np.geomspace(*_START_RANGE, side)) for _ in self.terms]

    def nonlinear(self, count: int) -> Floats:
        """Grid over the exponents and what else enters nonlinearly, at least ``count`` rows."""
        side = int(np.ceil(count ** (1.0 / len(self.grids(1))) - 1e-9))
        return np.stack([part.ravel() for part in np.meshgrid(*self.grids(side), indexing="ij")], axis=1)

    def term_logs(self, outer: Floats, u: Floats, v: Floats) -> list[Floats]:
        """Logarithm of each term [m] without its scale."""
        exponents = np.exp(outer[: len(self.terms)])
        sizes = self.sizes(outer[len(self.terms) :], u, v)
        return [-exponent * size for exponent, size in zip(exponents, sizes)]

    def reducible_columns(self, outer: Floats, u: Floats, v: Floats) -> list[Floats]:
        """What the scales multiply: one function [m] for each term, or one for all."""
        return [np.exp(log) for log in self.term_logs(outer, u, v)]

    def columns(self, outer: Floats, u: Floats, v: Floats) -> list[Floats]:
        """The reducible part's functions, and 1 for the floor."""
        return self.reducible_columns(outer, u, v) + [np.ones_like(u) for _ in self.floor.parameters]

    def scales(self, outer: Floats, linear: Floats, smallest: float) -> list[float]:
        """Centred scale of each term."""
        return [float(np.log(max(linear[i], smallest))) for i in range(len(self.terms))]

    def assemble(self, outer: Floats, linear: Floats, smallest: float) -> Floats:
        """Centred parameters [p] of exponents, shift and the coefficients found by projection."""
        theta = np.zeros(self.size)
        end = 2 * len(self.terms)
        theta[0:end:2] = self.scales(outer, linear, smallest)
        theta[1:end:2] = outer[: len(self.terms)]
        theta[end : end + len(self.more)] = outer[len(outer) - len(self.more) :]
        if self.floor.parameters:
            theta[-1] = linear[-1]
        return theta
