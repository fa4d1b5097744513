"""Scaling-law forms in their published parametrisation, with analytic Jacobians for the fitter.

All forms share one structure. With ``t_N`` the logarithm of the model term and ``t_D`` that of the data
term, the reducible part of the metric is

* one term alone, ``x = exp(t)``: ``model`` (A/N)^α and ``data`` (B/D)^β, arXiv 2403.18684 eqs 6-7;
* ``joint``: ``x = [exp(t_N/β) + exp(t_D/β)]^β = [(A/N)^{α/β} + B/D]^β``, arXiv 2403.18684 eq 9;
* ``additive``: ``x = exp(t_N) + exp(t_D) = A/N^α + B/D^β``, Hoffmann et al. 2022 (arXiv 2203.15556) eq 2,

and the metric is ``x + δ`` (with floor), ``x`` (``-no-floor``) or ``δ + x·c/(x + c)``, ``c = chance − δ``
(``-bounded``: the metric saturates at a known chance level, and equals the form with floor far below it).
``data-shifted`` replaces D by D + D0, the data a pretrained model is worth before it sees any pair.

The fitter works in *centred* coordinates: the logarithm of each term at the geometric mean of N (of D)
instead of A (of B), because ln A and α are correlated at .999 otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval.errors import ConfigError

Floats = NDArray[np.float64]
Combine = Literal["single", "joint", "sum"]

EXPONENT_BOUNDS = (0.005, 8.0)
"""Exponents are searched between these values; an estimate on one of them is reported as such."""

MAX_SHIFT = 1e4
"""Largest D0, in units of the geometric mean of D."""


@dataclass(frozen=True)
class Centre:
    """Geometric means of the fitted N and D, as natural logarithms; the origin of the centred coordinates."""

    log_n: float = 0.0
    log_d: float = 0.0


@dataclass(frozen=True)
class Law:
    """One form. ``parameters`` lists the published names in the order used by every array of parameters."""

    name: str
    axes: tuple[str, ...]
    """Which of ``N`` and ``D`` the form depends on."""
    parameters: tuple[str, ...]
    formula: str
    combine: Combine
    floor: bool
    bounded: bool = False
    shifted: bool = False

    @property
    def size(self) -> int:
        """Number of free parameters."""
        return len(self.parameters)

    def index(self, parameter: str) -> int:
        """Position of a published parameter in a parameter array."""
        return self.parameters.index(parameter)

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

    # -- centred coordinates: [a, ln α], [b, ln β], [D0/geometric mean of D], [δ] -----------------------

    def to_centred(self, params: ArrayLike, centre: Centre) -> Floats:
        """Published parameters [..., p] -> centred coordinates [..., p]."""
        return self.logs_to_centred(self.to_logs(params), centre)

    def to_published(self, centred: ArrayLike, centre: Centre) -> Floats:
        """Centred coordinates [..., p] -> published parameters [..., p]."""
        return self.from_logs(self.centred_to_logs(centred, centre))

    def to_logs(self, params: ArrayLike) -> Floats:
        """Published parameters [..., p] with scales and exponents as logarithms (intervals live there)."""
        logs = np.array(params, dtype=np.float64)
        end = 2 * len(self.axes)
        logs[..., :end] = np.log(logs[..., :end])
        return logs

    def from_logs(self, logs: ArrayLike) -> Floats:
        """Inverse of :meth:`to_logs`."""
        params = np.array(logs, dtype=np.float64)
        end = 2 * len(self.axes)
        with np.errstate(over="ignore"):
            params[..., :end] = np.exp(params[..., :end])
        return params

    def logs_to_centred(self, logs: ArrayLike, centre: Centre) -> Floats:
        """From :meth:`to_logs` to centred coordinates; a scale too small or large for a float survives it."""
        theta = np.array(logs, dtype=np.float64)
        for scale, exponent, log_centre in self._terms(centre):
            power = np.exp(theta[..., exponent])
            weight = 1.0 if self.combine == "sum" else power
            theta[..., scale] = weight * theta[..., scale] - power * log_centre
        if self.shifted:
            theta[..., self.index("D0")] /= np.exp(centre.log_d)
        return theta

    def centred_to_logs(self, centred: ArrayLike, centre: Centre) -> Floats:
        """Inverse of :meth:`logs_to_centred`."""
        logs = np.array(centred, dtype=np.float64)
        for scale, exponent, log_centre in self._terms(centre):
            power = np.exp(logs[..., exponent])
            weight = 1.0 if self.combine == "sum" else power
            logs[..., scale] = (logs[..., scale] + power * log_centre) / weight
        if self.shifted:
            logs[..., self.index("D0")] *= np.exp(centre.log_d)
        return logs

    def chain(self, centred: Floats, centre: Centre) -> Floats:
        """d centred / d logs (see :meth:`to_logs`) at ``centred`` [p], as [p, p]."""
        slopes = np.eye(self.size)
        for scale, exponent, _ in self._terms(centre):
            slopes[scale, scale] = 1.0 if self.combine == "sum" else np.exp(centred[exponent])
            slopes[scale, exponent] = self.held_scale_slope(centred[None, :], scale, centre)[0]
        if self.shifted:
            slopes[self.index("D0"), self.index("D0")] = np.exp(-centre.log_d)
        return slopes

    def held_scale_slope(self, centred: Floats, scale: int, centre: Centre) -> Floats:
        """d (centred scale) / d ln exponent [r] while the published scale (A or B) is held."""
        if self.combine != "sum":
            return centred[:, scale]
        log_centre = centre.log_n if self.parameters[scale] == "A" else centre.log_d
        return -np.exp(centred[:, scale + 1]) * log_centre

    def bounds(self, upper_floor: float) -> tuple[Floats, Floats]:
        """Lower and upper bounds [p] in centred coordinates; the floor lies between 0 and ``upper_floor``."""
        low, high = np.full(self.size, -np.inf), np.full(self.size, np.inf)
        for _, exponent, _ in self._terms(Centre()):
            low[exponent], high[exponent] = np.log(EXPONENT_BOUNDS[0]), np.log(EXPONENT_BOUNDS[1])
        if self.shifted:
            low[self.index("D0")], high[self.index("D0")] = 0.0, MAX_SHIFT
        if self.floor:
            low[-1], high[-1] = 0.0, upper_floor
        return low, high

    def evaluate(
        self, centred: Floats, u: Floats, v: Floats, chance: float | None = None, jacobian: bool = True
    ) -> tuple[Floats, Floats]:
        """Values [r, k] and Jacobian [r, k, p] for a batch of centred parameters [r, p].

        ``u`` and ``v`` [k] are ln N and ln D less their centre. Without ``jacobian`` the second is empty.
        """
        if self.bounded and chance is None:
            raise ConfigError(f"law {self.name} needs the chance level: give the number of negatives W")
        rows, points = centred.shape[0], u.shape[0]
        jac = np.zeros((rows, points, self.size if jacobian else 0))
        logs: list[Floats] = []
        for axis in self.axes:
            logs.append(self._term(centred, u if axis == "N" else v, axis))
        reducible, shares, entropy = self._combine(logs, centred)
        if jacobian:
            self._reducible_jacobian(jac, centred, u, v, reducible, shares, entropy)
        return self._with_floor(centred, reducible, jac, chance)

    def starts(self, log_y: Floats, count: int) -> Floats | None:
        """Starting points of its own [r, p] for the solver, or ``None`` for the solver's grid."""
        return None

    def _terms(self, centre: Centre) -> list[tuple[int, int, float]]:
        """(position of the scale, position of the exponent, ln centre) of each term."""
        terms = []
        if "N" in self.axes:
            terms.append((self.index("A"), self.index("alpha"), centre.log_n))
        if "D" in self.axes:
            terms.append((self.index("B"), self.index("beta"), centre.log_d))
        return terms

    def _term(self, centred: Floats, log_size: Floats, axis: str) -> Floats:
        """Logarithm of one term [r, k]."""
        scale = self.index("A" if axis == "N" else "B")
        exponent = np.exp(centred[:, scale + 1, None])
        return centred[:, scale, None] - exponent * self._shifted(centred, log_size, axis)

    def _shifted(self, centred: Floats, log_size: Floats, axis: str) -> Floats:
        if self.shifted and axis == "D":
            return np.log(np.exp(log_size)[None, :] + centred[:, self.index("D0"), None])
        return log_size[None, :]

    def _combine(self, logs: Sequence[Floats], centred: Floats) -> tuple[Floats, list[Floats], Floats]:
        """Reducible part [r, k], each term's share of d ln x / d t, and d ln x / dβ at fixed terms."""
        zero = np.zeros_like(logs[0])
        if self.combine == "single":
            return np.exp(logs[0]), [zero + 1.0], zero
        power = np.exp(centred[:, self.index("beta"), None]) if self.combine == "joint" else 1.0
        first, second = logs[0] / power, logs[1] / power
        total = np.logaddexp(first, second)
        share_n, share_d = np.exp(first - total), np.exp(second - total)
        # d/dβ [β·ln(p + q)] with p = exp(t_N/β), q = exp(t_D/β) is the entropy of their shares.
        entropy = share_n * (total - first) + share_d * (total - second)
        return np.exp(power * total), [share_n, share_d], entropy

    def _reducible_jacobian(
        self,
        jac: Floats,
        centred: Floats,
        u: Floats,
        v: Floats,
        x: Floats,
        shares: list[Floats],
        entropy: Floats,
    ) -> None:
        for axis, share in zip(self.axes, shares):
            scale = self.index("A" if axis == "N" else "B")
            size = self._shifted(centred, u if axis == "N" else v, axis)
            jac[:, :, scale] = x * share
            jac[:, :, scale + 1] = -x * share * np.exp(centred[:, scale + 1, None]) * size
        if self.combine == "joint":
            beta = self.index("beta")
            jac[:, :, beta] += x * entropy * np.exp(centred[:, beta, None])
        if self.shifted:
            shift = self.index("D0")
            beta_value = np.exp(centred[:, self.index("beta"), None])
            jac[:, :, shift] = -x * beta_value / (np.exp(v)[None, :] + centred[:, shift, None])

    def _with_floor(
        self, centred: Floats, x: Floats, jac: Floats, chance: float | None
    ) -> tuple[Floats, Floats]:
        if not self.floor:
            return x, jac
        delta = centred[:, -1, None]
        if not self.bounded or chance is None:
            if jac.shape[2]:
                jac[:, :, -1] = 1.0
            return x + delta, jac
        room = np.maximum(chance - delta, 1e-12)
        kept = room / (x + room)
        if jac.shape[2]:
            jac *= (kept**2)[:, :, None]
            jac[:, :, -1] = 1.0 - (1.0 - kept) ** 2
        return delta + x * kept, jac


def _family() -> dict[str, Law]:
    bases: list[tuple[str, tuple[str, ...], tuple[str, ...], str, Combine]] = [
        ("model", ("N",), ("A", "alpha"), "(A/N)^α", "single"),
        ("data", ("D",), ("B", "beta"), "(B/D)^β", "single"),
        ("joint", ("N", "D"), ("A", "alpha", "B", "beta"), "[(A/N)^{α/β} + B/D]^β", "joint"),
        ("additive", ("N", "D"), ("A", "alpha", "B", "beta"), "A/N^α + B/D^β", "sum"),
    ]
    laws: list[Law] = []
    for name, axes, names, text, combine in bases:
        floored = (*names, "delta")
        saturating = f"δ + x·c/(x+c), x = {text}, c = chance − δ"
        laws.append(Law(name, axes, floored, f"{text} + δ", combine, floor=True))
        laws.append(Law(f"{name}-no-floor", axes, names, text, combine, floor=False))
        laws.append(Law(f"{name}-bounded", axes, floored, saturating, combine, floor=True, bounded=True))
    shifted = ("B", "beta", "D0", "delta")
    laws.append(Law("data-shifted", ("D",), shifted, "(B/(D+D0))^β + δ", "single", floor=True, shifted=True))
    return {law.name: law for law in laws}


LAWS: dict[str, Law] = _family()
"""Every form by name."""


def get_law(name: str) -> Law:
    """The form called ``name``; raises ConfigError naming the valid ones."""
    if name not in LAWS:
        raise ConfigError(f"law={name} does not exist; choose one of {', '.join(LAWS)} or auto")
    return LAWS[name]


PUBLISHED: dict[str, tuple[str, dict[str, float]]] = {
    "fang2024-msmarco-model": ("model", {"A": 3.22e4, "alpha": 0.53, "delta": 0.04}),
    "fang2024-msmarco-joint": (
        "joint",
        {"A": 3.6e4, "alpha": 0.56, "B": 7.1e3, "beta": 1.31, "delta": 0.03},
    ),
    "fang2024-t2ranking-model": ("model", {"A": 9.89e6, "alpha": 0.53, "delta": 0.14}),
    "fang2024-t2ranking-data": ("data", {"B": 6.04e4, "beta": 0.50, "delta": 0.15}),
    "hoffmann2022": (
        "additive",
        {"A": 406.4, "alpha": 0.34, "B": 410.7, "beta": 0.28, "delta": 1.69},
    ),
}
"""Published laws: name -> (form, parameters). Sources: arXiv 2403.18684 (N in parameters, D in pairs) and
arXiv 2203.15556 (N in parameters, D in tokens). Rounded as printed, so predictions carry that rounding."""


def chance_level(negatives: int) -> float:
    """Contrastive entropy of constant scores against W random negatives: ln(W + 1)."""
    return float(np.log(negatives + 1))
