"""What a law is: everything the fitter, the inverse and the commands need to know about one form.

A law states its parameters with their roles, its values, its inverse and its starting points; limits,
coordinates, intervals and diagnostics follow from the roles. A form whose values are linear in some
parameters is best derived from :class:`~sweeps.fitting.laws.separable.Separable`, which finds the starts.
:func:`~sweeps.fitting.laws.register` makes a law known by name.

The fitter works in *centred* coordinates. They replace a scale by its logarithm at the geometric mean of
the fitted N (or D), because ln A and α are correlated at .999 otherwise. *Logs* are the published parameters
with scales and exponents as logarithms; intervals live there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval.errors import ConfigError

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


Role = Literal["scale", "exponent", "growth", "shift", "floor", "coefficient"]
"""A ``growth`` is the exponent of a law that grows; it has a sign, which an ``exponent`` has not."""

EXPONENT_BOUNDS = (0.005, 8.0)
"""Exponents are searched between these values; an estimate on one of them is reported as such."""

MAX_SHIFT = 1e4
"""Largest shift (D0), in units of the geometric mean of D."""

_LOG_SCALE_LIMIT = 300.0
_DIFFERENCE = 1e-6


@dataclass(frozen=True)
class Parameter:
    """One published parameter. Scales and exponents are positive and searched as logarithms."""

    name: str
    role: Role
    axis: str | None = None
    """``N`` or ``D``: the unit of a scale or shift, the resource of an exponent."""

    @property
    def logarithmic(self) -> bool:
        """Whether the fitter works with the parameter's logarithm."""
        return self.role in ("scale", "exponent")


class Law(ABC):
    """One form. Arrays of parameters hold the published ones in the order of ``kinds``."""

    name: str
    axes: tuple[str, ...]
    """Which of ``N`` and ``D`` the form depends on."""
    kinds: tuple[Parameter, ...]
    """The published parameters, logarithmic ones first."""
    formula: str
    help: str
    """What the form is and where it comes from, in one line."""
    needs_chance: bool = False
    """Whether the values depend on the metric's chance level."""
    grows: bool = False
    """Whether the form is one of quantities that grow with N and D: costs and not losses."""

    @classmethod
    def forms(cls) -> Sequence[Law]:
        """The laws that this class contributes; one unless it says otherwise."""
        return [cls()]

    @abstractmethod
    def values(self, centred: Floats, u: Floats, v: Floats, chance: float | None = None) -> Floats:
        """Metric [r, k] of centred parameters [r, p]; ``u``, ``v`` [k] are ln N, ln D less the centre."""

    @abstractmethod
    def starts(self, points: Points, count: int) -> Floats:
        """At least ``count`` starting points [r, p] for the fitter."""

    def inverse(
        self, params: Floats, target: Floats, axis: str, other: Floats, chance: float | None = None
    ) -> Floats:
        """Amount of ``axis`` at which the law predicts ``target`` or less; ``inf`` where none does.

        Args:
            params: published parameters [..., p].
            target: values of the metric, broadcast against params' leading axes and ``other``.
            axis: ``N`` or ``D``, one of ``axes``.
            other: the resource held fixed.
            chance: chance level of the metric.
        """
        raise ConfigError(f"law {self.name} has no inverse")

    def evaluate(
        self, centred: Floats, u: Floats, v: Floats, chance: float | None = None, jacobian: bool = True
    ) -> tuple[Floats, Floats]:
        """Values [r, k] and Jacobian [r, k, p], by central differences unless a form knows it.

        Without ``jacobian`` the second is empty.
        """
        values = self.values(centred, u, v, chance)
        jac = np.zeros((*values.shape, self.size if jacobian else 0))
        for place in range(jac.shape[2]):
            step = np.zeros(self.size)
            step[place] = _DIFFERENCE
            ends = [self.values(centred + sign * step, u, v, chance) for sign in (1, -1)]
            jac[:, :, place] = (ends[0] - ends[1]) / (2 * _DIFFERENCE)
        return values, jac

    @property
    def parameters(self) -> tuple[str, ...]:
        """Published names, in the order used by every array of parameters."""
        return tuple(kind.name for kind in self.kinds)

    @property
    def size(self) -> int:
        """Number of free parameters."""
        return len(self.kinds)

    @property
    def family(self) -> str:
        """Name shared by forms that cannot be told apart where the metric is far below chance."""
        return self.name

    def places(self, role: Role) -> list[int]:
        """Positions of the parameters with one role."""
        return [place for place, kind in enumerate(self.kinds) if kind.role == role]

    def names(self, role: Role) -> list[str]:
        """Names of the parameters with one role."""
        return [kind.name for kind in self.kinds if kind.role == role]

    def exponent(self, axis: str) -> int | None:
        """Position of the exponent along ``axis``, if the form has one."""
        return next((place for place in self.places("exponent") if self.kinds[place].axis == axis), None)

    def vector(self, params: Mapping[str, float]) -> Floats:
        """Published parameters as an array [p]; raises ConfigError on a missing or unknown name."""
        if set(params) != set(self.parameters):
            known, given = ", ".join(self.parameters), ", ".join(params) or "none"
            raise ConfigError(f"law {self.name} has parameters {known}; got {given}")
        return np.array([float(params[name]) for name in self.parameters])

    def predict(
        self, params: Mapping[str, float] | ArrayLike, n: ArrayLike, d: ArrayLike, chance: float | None = None
    ) -> Floats:
        """Metric at (N, D).

        Args:
            params: published parameters, a mapping or an array [..., p].
            n: model sizes [k], in the unit used for A; ignored by data forms.
            d: training pairs [k], in the unit used for B; ignored by model forms.
            chance: chance level of the metric, ln(W+1) for contrastive entropy; needed by bounded forms.

        Returns: float64 [..., k].
        """
        theta = self.vector(params) if isinstance(params, Mapping) else np.asarray(params, dtype=np.float64)
        n_, d_ = np.broadcast_arrays(np.asarray(n, dtype=np.float64), np.asarray(d, dtype=np.float64))
        with np.errstate(divide="ignore", over="ignore"):
            centred = self.to_centred(theta, Centre())
            values, _ = self.evaluate(
                np.atleast_2d(centred), np.log(n_.ravel()), np.log(d_.ravel()), chance, jacobian=False
            )
        return values.reshape((*theta.shape[:-1], *n_.shape))

    def to_centred(self, params: ArrayLike, centre: Centre) -> Floats:
        """Published parameters [..., p] -> centred coordinates [..., p]."""
        return self.logs_to_centred(self.to_logs(params), centre)

    def to_published(self, centred: ArrayLike, centre: Centre) -> Floats:
        """Centred coordinates [..., p] -> published parameters [..., p]."""
        return self.from_logs(self.centred_to_logs(centred, centre))

    def to_logs(self, params: ArrayLike) -> Floats:
        """Published parameters [..., p] with scales and exponents as logarithms."""
        logs = np.array(params, dtype=np.float64)
        end = sum(kind.logarithmic for kind in self.kinds)
        logs[..., :end] = np.log(logs[..., :end])
        return logs

    def from_logs(self, logs: ArrayLike) -> Floats:
        """Inverse of :meth:`to_logs`."""
        params = np.array(logs, dtype=np.float64)
        end = sum(kind.logarithmic for kind in self.kinds)
        with np.errstate(over="ignore"):
            params[..., :end] = np.exp(params[..., :end])
        return params

    def logs_to_centred(self, logs: ArrayLike, centre: Centre) -> Floats:
        """From :meth:`to_logs` to centred coordinates: scales and shifts in units of their axis's mean."""
        theta = np.array(logs, dtype=np.float64)
        for place in self.places("scale"):
            theta[..., place] -= centre.of(self.kinds[place].axis)
        return self._shifts(theta, centre, -1)

    def centred_to_logs(self, centred: ArrayLike, centre: Centre) -> Floats:
        """Inverse of :meth:`logs_to_centred`."""
        logs = np.array(centred, dtype=np.float64)
        for place in self.places("scale"):
            logs[..., place] += centre.of(self.kinds[place].axis)
        return self._shifts(logs, centre, 1)

    def _shifts(self, theta: Floats, centre: Centre, sign: int) -> Floats:
        for place in self.places("shift"):
            unit = np.exp(centre.of(self.kinds[place].axis))
            theta[..., place] = theta[..., place] * unit if sign > 0 else theta[..., place] / unit
        return theta

    def chain(self, centred: Floats, centre: Centre) -> Floats:
        """d centred / d logs (see :meth:`to_logs`) at ``centred`` [p], as [p, p]."""
        slopes = np.eye(self.size)
        for place in self.places("shift"):
            slopes[place, place] = np.exp(-centre.of(self.kinds[place].axis))
        return slopes

    def held(self, centred: Floats, index: int, centre: Centre) -> list[tuple[int, Floats]]:
        """What moves the centred coordinate ``index`` while its published parameter is held.

        Returns (other coordinate, derivative [r]); empty where the two determine each other.
        """
        return []

    def bounds(self, upper_floor: float) -> tuple[Floats, Floats]:
        """Lower and upper bounds [p] in centred coordinates; the floor lies between 0 and ``upper_floor``."""
        ends = [_range(kind.role, upper_floor) or (-np.inf, np.inf) for kind in self.kinds]
        low, high = np.array(ends).T
        return low, high

    def limits(self, index: int, centre: Centre, upper_floor: float) -> tuple[float, float]:
        """Where the search for an interval's ends stops, in the coordinates of :meth:`to_logs`."""
        kind = self.kinds[index]
        low, high = _range(kind.role, upper_floor) or (-_LOG_SCALE_LIMIT, _LOG_SCALE_LIMIT)
        unit = float(np.exp(centre.of(kind.axis))) if kind.role == "shift" else 1.0
        return low, high * unit

    def end(self, index: int, position: float | None, side: int) -> float | None:
        """End of an interval in published units; the natural bound 0 of floor and shift is a closed end."""
        kind = self.kinds[index]
        if position is None:
            return 0.0 if side < 0 and kind.role in ("floor", "shift") else None
        return float(np.exp(position)) if kind.logarithmic else float(position)


def _range(role: Role, upper_floor: float) -> tuple[float, float] | None:
    """Where a parameter of this role is searched, in centred coordinates; ``None`` for no limit."""
    match role:
        case "exponent":
            return float(np.log(EXPONENT_BOUNDS[0])), float(np.log(EXPONENT_BOUNDS[1]))
        case "shift":
            return 0.0, MAX_SHIFT
        case "floor":
            return 0.0, upper_floor
        case _:
            return None
